"""What a tab shows of its results: while they grow, and at rest with files to play and to download."""

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.recipe import LONGEST_LINK, to_word
from waveletgpt.app.results import Result, Results, shared_tokens
from waveletgpt.app.scoring import can_cross_score
from waveletgpt.app.web.components import Card, TabComponents
from waveletgpt.app.web.markup import about, agreement, blank, losses
from waveletgpt.app.web.panel import panel_values, prompt_text, write_prompt
from waveletgpt.app.web.session import CARDS, Session
from waveletgpt.app.web.surprise import hint, marks, running_bits
from waveletgpt.app.web.transport import Sound, card_view, read_sound, transport_value

Changes = dict[Any, Any]
"""New values by component. Components that are not in it stay as they are."""
Files = list[dict[str, Path]]
"""The files of each card, by suffix."""


class Display:
    """The cards of one tab, its player, and what is said about them."""

    def __init__(self, modality: AppModality[Any], library: Library, tab: TabComponents) -> None:
        self.modality, self.library, self.tab = modality, library, tab

    def growing(self, session: Session, *, redraw: bool) -> Changes:
        """Both cards while they grow. `redraw` says whether to draw the views and fill the player again."""
        results = session.results
        changes: Changes = {self.tab.agreement: agreement(results, self.modality), self.tab.losses: ""}
        if redraw:
            changes |= self.marked(session)
        if session.scaled is not None:
            changes[self.tab.scales.view] = ""
        if session.compared:
            changes[self.tab.novelty.view] = ""
        if redraw and self.tab.transport and self.modality.heard_early:
            changes[self.tab.transport] = self._sounds(session)
        return changes

    def marked(self, session: Session) -> Changes:
        """Both views, with what the visitor wants to know about surprise, and no place looked at."""
        return {**self.surprise(session), self.tab.looking.choices: hint(session, self.modality)}

    def surprise(self, session: Session) -> Changes:
        """Both views, and the running bits."""
        plot = running_bits(session, self.modality) if session.marking else ""
        return {**self._views(session), self.tab.looking.plot: plot}

    def busy(self) -> Changes:
        """The cards' buttons, which wait until their results are complete."""
        buttons = [button for card in self.tab.cards for button in (*card.downloads.values(), *card.actions)]
        return dict.fromkeys(buttons, gr.update(interactive=False))

    def at_rest(self, session: Session) -> Iterator[Changes]:
        """Both cards at rest, with files to play and to download."""
        results = session.results
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the files before it asks for more
            files = [self._files(result, Path(folder) / CARDS[i]) for i, result in enumerate(results)]
            changes = {
                **self.without_files(session),
                self.tab.losses: losses(results, self.modality, scoring=can_cross_score(results)),
                self.tab.address: word_of(results, LONGEST_LINK),
                self.tab.bundle: self._bundle(files, Path(folder)),
            }
            for card, paths in zip(self.tab.cards, files, strict=True):
                for suffix, path in paths.items():
                    changes[card.downloads[suffix]] = gr.update(value=str(path), interactive=True)
            if self.tab.transport:
                changes[self.tab.transport] = self._sounds(session, files)
            yield changes

    def panel(self, results: Results) -> Iterator[Changes]:
        """The prompt bar with the prompt and the settings of opened results."""
        there = [result for result in results if result]
        recipes = [replace(one.plan, variation=one.task.samples[one.chosen]) for one in there]
        recipe, tokenizer, panel = recipes[0], there[0].loaded.tokenizer, self.tab.panel
        values = panel_values(self.modality, recipes, tokenizer)
        changes = {panel[name]: value for name, value in values.items()}
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the file before it asks for more
            if self.modality.is_printed:
                changes[panel["prompt"]] = prompt_text(self.modality, recipe, tokenizer)
            else:
                path = write_prompt(self.modality, recipe, tokenizer, Path(folder))
                changes |= {panel["prompt"]: path and str(path), panel["example"]: recipe.example, panel["until"]: 0}
            yield changes

    def without_files(self, session: Session) -> Changes:
        """Both cards at rest."""
        changes: Changes = {self.tab.agreement: agreement(session.results, self.modality), **self.marked(session)}
        for card, result in zip(self.tab.cards, session.results, strict=True):
            changes |= self._card_at_rest(card, result)
        return changes

    def _card_at_rest(self, card: Card, result: Result | None) -> Changes:
        """One card's buttons."""
        changes: Changes = dict.fromkeys(card.downloads.values(), gr.update(value=None, interactive=False))
        changes |= dict.fromkeys(card.actions, gr.update(interactive=result is not None))
        changes[card.undo] = gr.update(interactive=bool(result and result.before))
        count = len(result.completions) if result else 1
        numbers = [str(number + 1) for number in range(count)]
        chosen = str(result.chosen + 1) if result else "1"
        changes[card.variation] = gr.update(choices=numbers, value=chosen, visible=shown_if(count > 1))
        if result:
            entries = self.library.entries()
            changes[card.checkpoint] = gr.update(value=result.name, choices=[*entries])
            changes[card.about] = about(entries.get(result.name), self.modality, result.plan.mute)
        return changes

    def _views(self, session: Session) -> Changes:
        results = session.results
        there, shared = [result for result in results if result], shared_tokens(results)
        if not there:
            return {card.view: blank() for card in self.tab.cards}
        axes = self.modality.axes([one.completion for one in there], [one.loaded.tokenizer for one in there])
        return {
            card.view: card_view(
                name,
                self.modality.view(result.completion, result.loaded.tokenizer, shared, axes, surprise),
                tinted=surprise is not None,
            )
            if result
            else blank()
            for name, card, result, surprise in zip(CARDS, self.tab.cards, results, marks(session), strict=True)
        }

    def _sounds(self, session: Session, files: Files | None = None) -> Any:
        """The player's value: finished files, or while they grow what there is so far."""
        sounds: list[Sound | None] = []
        for i, (name, result) in enumerate(zip(CARDS, session.results, strict=True)):
            label = result and f"{name.upper()}: {result.name}"
            if not result or not label:
                sounds.append(None)
            elif files is not None:
                sounds.append(read_sound(label, files[i][".wav"]))
            else:
                clip = self.modality.clip(result.completion, result.loaded.tokenizer)
                sounds.append(Sound(label, clip.samples, clip.sample_rate) if clip else None)
        return transport_value(sounds, session.version)

    def _files(self, result: Result | None, folder: Path) -> dict[str, Path]:
        return result.write(self.modality, folder) if result else {}

    def _bundle(self, files: Files, folder: Path) -> Any:
        """One zip of both cards' files."""
        if not any(files):
            return gr.update(value=None, interactive=False)
        path = folder / f"waveletgpt-{self.modality.name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for card, paths in zip(CARDS, files, strict=True):
                for file in paths.values():
                    archive.write(file, f"{card.upper()}-{file.name}")
        return gr.update(value=str(path), interactive=True)


def word_of(results: Results, longest: int | None = None) -> str:
    """The recipes of both cards as one word; empty if there are none or the word is longer than `longest`."""
    if not any(results):
        return ""
    word = to_word([result.recipe if result else None for result in results])
    return "" if longest and len(word) > longest else word


def all_begun(results: Results) -> bool:
    """Whether every result has a token."""
    return all(result.completion.written for result in results if result)


def ready() -> Any:
    """The button Generate when nothing is being made."""
    return gr.update(value="Generate", variant="primary")


def shown_if(condition: bool) -> bool | str:
    """A component's `visible`. Gradio waits for ever for one that is taken off the page before its script is there."""
    return condition or "hidden"


def progress(results: Results) -> str:
    """How much time is left: that of the slower model, since both run at the same time."""
    if not all_begun(results):
        return "Reading the prompt ..."
    ongoing = [result.completion for result in results if result and result.completion.ongoing]
    if not ongoing:
        return "Preparing what to play and to download ..."
    return f"Writing ... {max(completion.seconds_left for completion in ongoing):.0f} s left."
