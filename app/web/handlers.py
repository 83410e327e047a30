"""What happens when a tab's buttons are pressed.

Each handler returns, or yields again and again, the components that change, with their new values. Every press that
makes something leaves what it wants in the `Session`; `run` then does it. So a new press ends the work before it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import Library, LoadedCheckpoint
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.openings import opening
from waveletgpt.app.recipe import find_recipe, to_word
from waveletgpt.app.results import Result, Results, branched, continued, grow, load_named, ongoing, stopped
from waveletgpt.app.scoring import cross_score, with_scores
from waveletgpt.app.serving.scheduling import Place
from waveletgpt.app.serving.server import ADVICE, explained
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.streaming import is_ready
from waveletgpt.app.web.answers import Answers
from waveletgpt.app.web.components import TabComponents
from waveletgpt.app.web.display import Changes, Display, all_begun, progress, ready
from waveletgpt.app.web.history import made_in, remembered
from waveletgpt.app.web.inputs import (
    Settings,
    check_chosen,
    file_of,
    from_recipe,
    is_recipe_of,
    new_results,
)
from waveletgpt.app.web.markup import losses, note
from waveletgpt.app.web.session import CARDS, Session
from waveletgpt.common.errors import InputError, renamed

SCORING = 1.0
"""Seconds between two scorings of what is being written, each a pass over the context."""


class Handlers(Answers):
    """The handlers of one modality's tab."""

    def __init__(self, modality: AppModality[Any], library: Library, tab: TabComponents, visitors: Visitors) -> None:
        super().__init__(modality, library)
        self.tab, self.visitors = tab, visitors
        self.display = Display(modality, library, tab)
        self.instruments: list[Callable[[Session], Iterator[Changes]]] = []

    # Presses that want work. Each takes the session first, and the page calls `run` after it.

    def press(self, session: Session, *inputs: Any) -> Changes:
        """Generate on both cards; while something is wanted or being made, stop it."""
        if (session.running or session.wanted) and not session.arriving:
            session.wanted = None
            session.stop()
            stopping = {self.tab.status: note("Stopping ...")}
            return stopping if session.running else {self.tab.status: note("Stopped."), self.tab.generate: ready()}
        return self.generate(session, *inputs)

    def generate(self, session: Session, prompt: Any, example: str, until: float, *inputs: Any) -> Changes:
        """Generate on both cards with the chosen prompt and settings."""
        return self.want(session, partial(self._new, session, (prompt, example, until), inputs))

    def go_on(self, card: int, session: Session) -> Changes:
        """Let a card's result go on by as much as it was asked for last."""

        def results() -> Results:
            result = self._result(session, card)
            found = list(session.results)
            found[card] = continued(result, result.plan.lengths[-1])
            return found

        return self.want(session, results)

    def branch(self, card: int, session: Session, *inputs: Any) -> Changes:
        """Let both cards go on from one card's result."""

        def results() -> Results:
            result = self._result(session, card)
            names, settings = inputs[: len(CARDS)], Settings(*inputs[len(CARDS) :])
            check_chosen(names)
            keep = settings.within("keep", self.modality.keep, self.modality.unit)
            kept, length = self.modality.count(keep, result.loaded.tokenizer), result.plan.lengths[-1]
            entries, found = self.library.entries(), list[Result | None]()
            for name, before in zip(names, session.results, strict=True):
                if not name:
                    found.append(None)
                    continue
                other = load_named(self.modality, entries, name)
                found.append(replace(branched(self.modality, result, other, kept, length), before=before))
            return found

        return self.want(session, results)

    def open_word(self, session: Session, word: str) -> Changes:
        """Make the results of a recipe, as it stands in an address or in the history."""
        return self.want(session, lambda: from_recipe(self.modality, self.library.entries(), word), opened=True)

    def open_file(self, session: Session, file: Any) -> Changes:
        """Make the results of a file that waveletgpt wrote."""

        def results() -> Results:
            path = file_of(file, "recipe", (".wav", ".mid", ".json"))
            with renamed(path, path.name):
                word = to_word(find_recipe(path))
            return from_recipe(self.modality, self.library.entries(), word)

        return self.want(session, results, opened=True)

    def arrive(self, session: Session, request: gr.Request) -> Changes:
        """Show what the page opens with: the results of the recipe in its address, else the ready-made ones."""
        if session.presses:
            return {self.tab.session: session}
        word = request.query_params.get("recipe", "") if request else ""
        if word and is_recipe_of(self.modality, word):
            changes = self.open_word(session, word)
        else:
            changes = self.want(session, lambda: opening(self.modality, self.library.entries()))
        session.arriving = True
        return changes

    def open_made(self, session: Session, history: list[dict[str, Any]] | None, index: int) -> Changes:
        """Make a result of the history again."""
        mine = made_in(self.modality, history)
        if not 0 <= index < len(mine):
            return {self.tab.status: note("This result is no longer in the history.")}
        return self.open_word(session, mine[index]["word"])

    def undo(self, card: int, session: Session) -> Iterator[Changes]:
        """Return a card to what its result goes on from."""
        yield from self._put(session, card, lambda result: result.before, "Undone.")

    def choose(self, card: int, session: Session, number: str) -> Iterator[Changes]:
        """Show another variation on a card."""
        variation = int(number) - 1
        yield from self._put(session, card, lambda one: replace(one, chosen=variation), f"Variation {number}.")

    def _put(
        self, session: Session, card: int, other: Callable[[Result], Result | None], message: str
    ) -> Iterator[Changes]:
        """Show another result on a card once both are at rest, and score both."""
        if session.running:
            yield {self.tab.status: gr.skip()}
            return
        with session.working:
            before = session.results[card]
            result = before and other(before)
            if result is None:
                yield {self.tab.status: note("There is nothing to undo.")}
                return
            session.results = [result if i == card else one for i, one in enumerate(session.results)]
            session.version += 1
            yield from self._show(session, message)
        yield from self.after(session)

    def want(self, session: Session, results: Callable[[], Results], *, opened: bool = False) -> Changes:
        """Ask for work, which `run` does."""
        session.want(results, opened=opened)
        return {
            self.tab.session: session,
            self.tab.status: note("Waiting for a turn ..."),
            self.tab.generate: gr.update(value="Stop", variant="stop"),
        }

    # The work.

    def run(self, session: Session, history: list[dict[str, Any]]) -> Iterator[Changes]:
        """Do what the session wants, and show the results as they grow, then with files to play and to download."""
        with session.working:
            yield from self._work(session, history)

    def _work(self, session: Session, history: list[dict[str, Any]]) -> Iterator[Changes]:
        wanted, opened, session.wanted = session.wanted, session.opened, None
        if wanted is None:
            yield {self.tab.status: gr.skip()}
            return
        session.running, session.stopping = True, False
        session.version += 1
        before, begun = session.results, time.monotonic()
        try:
            self.visitors.wait_for_reader()
            session.note = ""
            results = wanted()
            if opened:
                yield from self.display.panel(results)
            fresh = bool(ongoing(results))
            yield from self._grow(session, results)
            message = f"Done in {time.monotonic() - begun:.1f} s." if fresh else self.modality.prompt.hint
            if session.stopping:
                message = "Stopped."
            if session.note:
                message += f" Note: {session.note}."
            for changes in self._show(session, message):
                session.running = session.stopping = False  # the button says Generate, and cards may change
                if fresh and session.results is not before:
                    changes[self.tab.history] = remembered(history, session.results, self.modality)
                yield changes
        except Exception as error:
            told = explained(error)
            changes = {} if session.results is before else self.display.without_files(session)
            yield {
                **changes,
                self.tab.status: note(told or ADVICE, wrong=True),
                self.tab.generate: ready(),
            }
            if not told:
                raise
        finally:
            session.running = session.stopping = False

    def after(self, session: Session) -> Iterator[Changes]:
        """Score the results, and show what is wanted to be known about them."""
        yield from self.score(session)
        for follow in self.instruments:
            yield from follow(session)

    def score(self, session: Session) -> Iterator[Changes]:
        """Say what each model thinks of its own result and of the other's."""
        yield {self.tab.losses: gr.skip()}
        self.visitors.wait_for_reader()
        for scored in self._scored(session):
            self.visitors.check_reader()
            yield {self.tab.losses: losses(scored, self.modality)}

    def _scored(self, session: Session) -> Iterator[Results]:
        """Go on scoring the results, a piece at a time, until others stand in their place."""
        results = session.results
        turn = self.visitors.scheduler.turns("score", [1])[0]
        for scored in turn.slices(cross_score(with_scores(results, session.scored))):
            if session.results is not results:
                return
            session.scored = scored
            yield scored

    def failed(self, session: Session) -> Changes:
        """Answer a press whose work failed."""
        session.wanted = None
        return {self.tab.status: note(ADVICE, wrong=True), self.tab.generate: ready()}

    def _new(self, session: Session, source: tuple[Any, str, float], inputs: tuple[Any, ...]) -> Results:
        modality, settings = self.modality, Settings(*inputs[len(CARDS) :])
        length = settings.within("length", modality.length_on_page, modality.length_unit) * modality.units_each
        keep = settings.within("keep", modality.keep, modality.unit)

        def read(loaded: LoadedCheckpoint) -> Prompt | None:
            prompt = self.prompt_of(*source, keep, loaded)
            session.note = prompt.note if prompt else ""
            return prompt

        return new_results(modality, self.library.entries(), inputs[: len(CARDS)], settings, length, read)

    def _grow(self, session: Session, results: Results) -> Iterator[Changes]:
        """Wait in line, then show the results as they grow. Where nothing is written at the end, the earlier remain."""
        before, steps = session.results, [task.steps for task in ongoing(results)]
        if not steps:
            session.results = results if any(results) else before
            return
        try:
            with self.visitors.scheduler.enter(self.modality.name, session.visitor, steps) as place:
                for line in self.visitors.in_line(place, lambda: session.stopping):
                    yield {self.tab.status: note(line)}
                if not session.stopping:
                    yield from self._write(session, results, place)
        finally:
            if session.results is not before:
                found = stopped(session.results)
                session.results = found if any(found) else before

    def _write(self, session: Session, results: Results, place: Place) -> Iterator[Changes]:
        if not is_ready():
            yield {self.tab.status: note("Preparing the engine, which takes a while the first time ...")}
        begun, drawn, busy = time.monotonic(), 0.0, False
        scored = begun
        with closing(grow(results, first=self.modality.first, turns=place.turns)) as growing:
            for session.results in growing:
                self.visitors.check_reader()
                changes, now = {self.tab.status: note(progress(session.results))}, time.monotonic()
                if all_begun(session.results):  # what was there stays until there is something new
                    redraw = now - drawn >= self.modality.refresh
                    if session.marking and now - scored >= SCORING:  # both models' surprise grows with the results
                        next(self._scored(session), None)
                        scored = now
                    changes |= self.display.growing(session, redraw=redraw)
                    if drawn and not busy:  # the first tokens show first
                        changes, busy = changes | self.display.busy(), True
                    drawn = now if redraw else drawn
                elif now - begun < self.modality.refresh:
                    continue
                yield changes
                if session.stopping:
                    break

    def _show(self, session: Session, message: str) -> Iterator[Changes]:
        """Both cards at rest, with files to play and to download."""
        for changes in self.display.at_rest(session):
            yield {**changes, self.tab.status: note(message), self.tab.generate: ready()}

    def _result(self, session: Session, card: int) -> Result:
        result = session.results[card]
        if result is None:
            raise InputError("there is no result on this card yet; generate one first")
        return result
