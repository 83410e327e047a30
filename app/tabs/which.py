"""The page's blind test: two results with hidden names, a vote, then the names, and what all votes say."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from waveletgpt.app.checkpoints import CheckpointEntry, Library, LoadedCheckpoint
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.recipe import LONGEST_LINK, to_word
from waveletgpt.app.serving.server import ADVICE, explained
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.tabs.trial import Pair, Trial, made
from waveletgpt.app.votes import Tally, add_vote, as_csv, default_path, read_votes, tally
from waveletgpt.app.web.components import default_checkpoints, private
from waveletgpt.app.web.display import Changes
from waveletgpt.app.web.markup import about, escape, note
from waveletgpt.app.web.scripts import script
from waveletgpt.app.web.transport import CARDS, card_view, transport, transport_value
from waveletgpt.common.errors import InputError, quoted, renamed
from waveletgpt.common.files import write_text
from waveletgpt.common.units import in_unit

Known = CheckpointEntry | LoadedCheckpoint
SIDES = ("1", "2")
INTRO = """<div class="lead"><h2>Which is which?</h2><p>Two models go on from the same beginning with the same random
numbers, and their names are hidden. Say which result is better, and the names appear. Votes are kept in a file on the
machine that runs this page, with nothing about you.</p></div>"""
NOT_KEPT = "Your vote could not be written to the disk. Make room there, then vote again."
NO_PAIR = "For the blind test, a kind of data needs two checkpoints."


@dataclass(frozen=True)
class WhichComponents:
    """The components that the handlers change."""

    trial: gr.State
    """A `Trial`."""
    kind: gr.Radio
    names: list[gr.Dropdown]
    """Of checkpoint A and checkpoint B."""
    views: list[gr.HTML]
    transport: gr.HTML
    ballot: gr.HTML
    names_view: gr.HTML
    """Which was which, after the vote."""
    press: gr.Button
    """Reads Stop while a pair is being made."""
    status: gr.HTML
    tally: gr.HTML
    save: gr.DownloadButton

    @property
    def shown(self) -> list[Component]:
        """All of them except the kind of data."""
        hidden = [self.names_view, self.press, self.status, self.tally, self.save]
        return [self.trial, *self.names, *self.views, self.transport, self.ballot, *hidden]


def build_which(
    item: gr.Tab,
    libraries: Mapping[str, Library],
    modalities: Mapping[str, AppModality[Any]],
    visitors: Visitors,
    votes: Path | None = None,
) -> None:
    """Add the contents of the tab `item` to the page that is being built.

    Args:
        item: the tab.
        libraries: the checkpoints of each kind of data.
        modalities: the kinds of data.
        visitors: who is there.
        votes: the file of the votes; None for the user's own.
    """
    entries = {name: library.entries() for name, library in libraries.items()}
    kinds = [name for name, found in entries.items() if len(found) > 1]
    if not kinds:
        gr.HTML(note(NO_PAIR))
        return
    chosen = default_checkpoints(entries[kinds[0]])
    with gr.Column(elem_id="which"):
        gr.HTML(INTRO)
        choices = [(name.capitalize(), name) for name in kinds]
        kind = gr.Radio(choices, value=kinds[0], label="Kind of data", elem_id="which-kind")
        with gr.Accordion("Other checkpoints", open=False), gr.Row():
            names = [
                gr.Dropdown([*entries[kinds[0]]], value=name, label=f"Checkpoint {card.upper()}", filterable=False)
                for card, name in zip(CARDS, chosen, strict=True)
            ]
        with gr.Row(elem_classes="cards"):
            views = []
            for side in SIDES:
                with gr.Column(min_width=300, elem_classes="result"):
                    views.append(gr.HTML(elem_id=f"which-{side}"))
        player = transport("which", SIDES)
        ballot = gr.HTML(None, html_template=script("which.html"), js_on_load=script("which.js"))
        names_view = gr.HTML()
        with gr.Row(elem_classes="press"):
            press = gr.Button("New pair", variant="primary", elem_classes="generate", scale=0, min_width=160)
            status = gr.HTML(note(""))
        tally_view = gr.HTML()
        with gr.Row():
            save = gr.DownloadButton("Save votes as CSV", size="sm", interactive=False, scale=0, min_width=180)
    tab = WhichComponents(
        gr.State(Trial()), kind, names, views, player, ballot, names_view, press, status, tally_view, save
    )
    handlers = Which(libraries, modalities, visitors, votes, tab)
    quiet: dict[str, Any] = {"preprocess": False, **private(tab.trial)}
    asked = [tab.trial, kind, *names]
    press.click(handlers.press, asked, tab.shown, trigger_mode="multiple", **quiet)
    ballot.select(handlers.vote, tab.trial, tab.shown, trigger_mode="multiple", **quiet)
    kind.input(handlers.chosen, [tab.trial, kind], tab.shown, queue=False, **quiet)
    for dropdown in names:
        dropdown.input(handlers.count, [kind, *names], [tally_view, save], queue=False, **quiet)
    item.select(handlers.count, [kind, *names], [tally_view, save], queue=False, **quiet)


class Which:
    """The handlers of the tab."""

    def __init__(
        self,
        libraries: Mapping[str, Library],
        modalities: Mapping[str, AppModality[Any]],
        visitors: Visitors,
        votes: Path | None,
        tab: WhichComponents,
    ) -> None:
        self.libraries, self.modalities, self.visitors = libraries, modalities, visitors
        self.votes, self.tab = votes, tab

    def press(self, trial: Trial, kind: Any, *names: Any) -> Iterator[Changes]:
        """Make a new pair; while one is being made, stop that."""
        tab = self.tab
        if not trial.begin():
            yield {tab.status: note("Stopping ...")}
            return
        number = trial.numbers
        stop = gr.update(value="Stop", variant="stop")
        yield {tab.trial: trial, tab.ballot: None, tab.names_view: "", tab.status: note("Waiting ..."), tab.press: stop}
        try:
            modality, entries = self._kind(kind)
            self.visitors.wait_for_reader()
            for line in made(trial, modality, entries, names, self.visitors):
                yield {tab.status: note(line)}
            trial.end(number)
            pair = trial.pair
            if pair is None:
                yield {tab.status: note("Stopped."), tab.press: _ready()}
                return
            with tempfile.TemporaryDirectory() as folder:  # gradio copies the files before it asks for more
                changes = self._pair(pair, Path(folder))
                trial.ballot = changes[tab.ballot]
                yield {**changes, tab.status: note(""), tab.press: _ready()}
        except Exception as error:
            told = explained(error)
            yield {tab.status: note(told or ADVICE, wrong=True), tab.press: _ready()}
            if not told:
                raise
        finally:
            trial.end(number)

    def vote(self, trial: Trial, event: gr.EventData) -> Iterator[Changes]:
        """Keep a vote on the pair that is shown, and tell which was which."""
        tab = self.tab
        try:
            with trial.working:
                pair, vote = trial.vote(getattr(event, "value", None))
                path = self.votes or default_path()
                with renamed(path.resolve(), path.name), renamed(path, path.name):
                    add_vote(path, vote)
                trial.ballot = None
        except (InputError, OSError) as error:
            told = explained(error) if isinstance(error, InputError) else NOT_KEPT
            trial.tries += 1  # so that the page lets the person vote again
            again = {tab.ballot: {**trial.ballot, "tries": trial.tries}} if trial.ballot else {}
            yield {**again, tab.status: note(told, wrong=True)}
            return
        entries = self.libraries[pair.modality.name].entries()
        a, b = (one.loaded for one in pair.results)
        named: Changes = {
            tab.ballot: None,
            tab.names_view: names_of(pair, vote.preferred, entries),
            tab.status: note("Thank you: your vote is kept."),
            tab.press: gr.update(value="Next pair"),
        }
        for changes in self._counted(pair.modality, a, b):
            yield {**named, **changes}

    def chosen(self, trial: Trial, kind: Any) -> Iterator[Changes]:
        """Begin with another kind of data: its checkpoints, without a pair."""
        trial.drop()
        tab = self.tab
        try:
            _, entries = self._kind(kind)
        except InputError as error:
            yield {tab.status: note(str(error), wrong=True)}
            return
        names = default_checkpoints(entries)
        changes: Changes = {
            dropdown: gr.update(choices=[*entries], value=name) for dropdown, name in zip(tab.names, names, strict=True)
        }
        changes |= dict.fromkeys([*tab.views, tab.names_view], "") | {tab.trial: trial}
        changes |= {tab.transport: None, tab.ballot: None, tab.status: note(""), tab.press: _ready()}
        for counted in self.count(kind, *names):
            yield {**changes, **counted}

    def count(self, kind: Any, *names: Any) -> Iterator[Changes]:
        """What the votes say about two checkpoints."""
        try:
            modality, entries = self._kind(kind)
            a, b = (entries.get(name if isinstance(name, str) else "") for name in names)
        except InputError as error:
            yield {self.tab.tally: note(str(error), wrong=True)}
            return
        yield from self._counted(modality, a, b)

    def _counted(self, modality: AppModality[Any], a: Known | None, b: Known | None) -> Iterator[Changes]:
        """The tally of two checkpoints, and all votes as a file."""
        try:
            path = self.votes or default_path()
            with renamed(path, path.name):
                votes = read_votes(path)
        except InputError as error:
            yield {self.tab.tally: note(str(error), wrong=True)}
            return
        told = "" if not a or not b else tally_of(tally(votes, a.digest, b.digest), modality, a, b)
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the file before it asks for more
            copy = Path(folder) / "votes.csv"
            write_text(copy, as_csv(votes))
            save = gr.update(value=str(copy) if votes else None, interactive=bool(votes))
            yield {self.tab.tally: told, self.tab.save: save}

    def _pair(self, pair: Pair, folder: Path) -> Changes:
        """A pair as it is shown before the vote."""
        sounds = pair.sounds(folder)
        changes: Changes = {
            component: f"<h3>{side}</h3>{card_view(card, view)}"
            for component, side, card, view in zip(self.tab.views, SIDES, CARDS, pair.views(), strict=True)
        }
        return changes | {
            self.tab.transport: transport_value(sounds, pair.number),
            self.tab.ballot: pair.ballot(sounds),
        }

    def _kind(self, kind: Any) -> tuple[AppModality[Any], dict[str, CheckpointEntry]]:
        """A kind of data and its checkpoints. Raises InputError if there is no such kind."""
        if not isinstance(kind, str) or kind not in self.libraries:
            raise InputError(f"there is no kind of data {quoted(kind)}; choose one of {', '.join(self.libraries)}")
        return self.modalities[kind], self.libraries[kind].entries()


def _ready() -> Any:
    return gr.update(value="New pair", variant="primary")


def names_of(pair: Pair, preferred: str, entries: Mapping[str, CheckpointEntry]) -> str:
    """Which checkpoint made which side, its loss on what it wrote, and a link that makes the result again."""
    modality, parts = pair.modality, []
    for side, result in zip(SIDES, pair.sides, strict=True):
        loss = in_unit(result.completion.nats_per_token, modality.loss_unit)
        word = to_word([result.recipe])
        link = f' · <a href="?recipe={word}" target="_blank">Make it again</a>' if len(word) <= LONGEST_LINK else ""
        yours = " · <strong>your choice</strong>" if result.name == preferred else ""
        parts.append(
            f"<section><h3>{side} is {escape(result.name)}{yours}</h3>{about(entries.get(result.name), modality)}"
            f'<p class="note">Its own model needs {loss:.2f} {modality.loss_unit} for it{link}</p></section>'
        )
    return f'<div class="names" role="status">{"".join(parts)}</div>'


def tally_of(count: Tally, modality: AppModality[Any], a: Known, b: Known) -> str:
    """What the votes say about checkpoint B beside A, in a sentence and a drawing, with the difference in loss."""
    name, other, losses = escape(b.name), escape(a.name), [one.info.losses.get("val") for one in (a, b)]
    loss = ""
    if None not in losses:
        before, after = (in_unit(one, modality.loss_unit) for one in losses if one is not None)
        loss = (
            f" The validation loss of {name} is {abs(after - before):.3f} {modality.loss_unit} "
            f"{'lower' if after < before else 'higher'} than that of {other} ({after:.3f} and {before:.3f})."
        )
    if not count.decided + count.undecided:
        return f'<p class="note">Nobody has voted on {other} and {name} here yet.{loss}</p>'
    low, high = (100 * one for one in count.interval)
    undecided = f"no difference {count.undecided} time{'s' * (count.undecided != 1)}"
    if not count.decided:
        return f'<p class="note">No vote with a preference yet; {undecided}.{loss}</p>'
    share = 100 * count.for_b / count.decided
    return (
        f'<div class="tally"><p>Of {count.decided} vote{"s" * (count.decided != 1)} with a preference, <b>{count.for_b}'
        f"</b> ({share:.0f} %, 95 % interval {low:.0f} to {high:.0f} %) prefer <b>{name}</b>, where chance gives 50 %; "
        f'{undecided}.</p><div class="interval" aria-hidden="true"><i style="left:{low:.1f}%;width:{high - low:.1f}%">'
        f'</i><b style="left:{share:.1f}%"></b><span>0 %</span><span>chance</span><span>100 %</span></div>'
        f'<p class="note">{loss.strip()}</p></div>'
    )
