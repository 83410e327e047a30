"""The instrument that shows and mutes the time scales of wavelet layers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from waveletgpt.app.drawing.figures import kernel_figure, scalogram_figure
from waveletgpt.app.instruments.scales import COLUMNS, even_columns, scalogram
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Result, Results, load_named, new_result, with_muted
from waveletgpt.app.web.display import Changes, shown_if
from waveletgpt.app.web.handlers import Handlers
from waveletgpt.app.web.markup import note
from waveletgpt.app.web.session import CARDS, Session
from waveletgpt.app.web.transport import card_view
from waveletgpt.common.errors import InputError
from waveletgpt.models.muting import levels_of, mute_words, wavelet_of
from waveletgpt.models.sampling import Sampling

HERE, EVERYWHERE = "In this layer", "In all layers"
PROMPT = 2
"""What stands for the prompt where 0 and 1 are cards."""


class Scales:
    """The handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.modality = handlers, handlers.modality
        self.parts = handlers.tab.scales

    def choose(self, session: Session, shown: int | None, *panel: Any) -> Iterator[Changes]:
        """Show the scales of a card or of the prompt, or no longer. `panel` is the prompt and the checkpoints."""
        session.scaled = shown if shown in {0, 1, PROMPT} else None
        if session.scaled is None:
            yield self._nothing("")
        if session.scaled == PROMPT:
            try:
                session.prompted = self._prompted(*panel)
            except InputError as error:
                session.scaled = None
                yield self._nothing(note(str(error), wrong=True))
        yield from self.follow(session)

    def _prompted(self, prompt: Any, example: str, until: float, keep: float, *names: str | None) -> Result:
        """The part of the prompt that the models get, as a result of which nothing is written."""
        entries = self.handlers.library.entries()
        loaded = [load_named(self.modality, entries, name) for name in names if name]
        wavelets = [one for one in loaded[::-1] if levels_of(one.model)]
        if not wavelets:
            raise InputError("no card has a wavelet; choose a checkpoint with time scales")
        found = self.handlers.prompt_of(prompt, example, until, keep, wavelets[0])
        if found is None:
            raise InputError("there is no prompt; give one, or show the scales of a card")
        return new_result(self.modality, wavelets[0], found, 1, Sampling())

    def _chosen(self, session: Session) -> Result | None:
        """What the scales are of."""
        if session.scaled is None:
            return None
        return session.prompted if session.scaled == PROMPT else session.results[session.scaled]

    def _nothing(self, said: str) -> Changes:
        """A line in place of the scales, without controls."""
        parts = self.parts
        hidden = dict.fromkeys([parts.layer, parts.levels, parts.where, parts.mute], gr.update(visible="hidden"))
        return {parts.view: said, **hidden}

    def layer(self, session: Session, layer: float) -> Iterator[Changes]:
        """Show another layer of what is read already."""
        session.layer = max(1, int(layer)) if isinstance(layer, int | float) else 1
        yield {self.parts.view: self._drawn(session)}

    def follow(self, session: Session) -> Iterator[Changes]:
        """Show the scales of the present results, if a card or the prompt is chosen."""
        parts, result = self.parts, self._chosen(session)
        if session.scaled is None:
            return
        if result is None:
            yield self._nothing(note("There is no result on this card yet."))
            return
        model = result.task.model
        levels = levels_of(model)
        if not levels:
            said = f"{result.name} has no time scales: its layer is {model.config.mixer}. Choose a card with a wavelet."
            yield self._nothing(note(said))
            return
        yield {
            parts.view: note("Reading ..."),
            parts.layer: gr.update(
                visible=shown_if(len(model.mixers) > 1),
                maximum=max(2, len(model.mixers)),  # gradio refuses a slider with one position
                value=min(session.layer, len(model.mixers)),
            ),
            parts.levels: gr.update(visible=True, choices=[(f"{2**level:,}", level) for level in levels]),
            parts.where: gr.update(visible=True),
            parts.mute: gr.update(visible=True),
        }
        if session.scaled == PROMPT:
            yield dict.fromkeys([parts.levels, parts.where, parts.mute], gr.update(visible="hidden"))
        visitors = self.handlers.visitors
        visitors.wait_for_reader()
        ids, columns = self._columns(result)
        (turn,) = visitors.scheduler.turns("score", [1])
        for found in turn.slices(scalogram(model, ids, columns)):
            visitors.check_reader()
            if self._chosen(session) is not result:
                return
            if found:
                session.scalogram = result, found
        yield {parts.view: self._drawn(session)}

    def mute(self, session: Session, levels: list[int], where: str) -> Changes:
        """Make a card's result again without some of its scales, beside the result as it was."""

        def results() -> Results:
            result = self._chosen(session)
            if result is None or session.scaled == PROMPT:
                raise InputError("choose a card with a result first")
            layer = min(session.layer, len(result.task.model.mixers))
            chosen = [layer] if where == HERE else []
            if not levels:
                raise InputError("choose what to mute: one or more of the scales")
            every = where == HERE and {*levels} == {*levels_of(result.task.model)}
            words = mute_words(chosen, [] if every else sorted(map(int, levels)))
            first, second = session.results
            if result.plan.mute and first and not first.plan.mute and first.name == result.name:
                whole = first  # what was muted before, still beside it
            else:
                whole = result if result is first else replace(result, before=first)
            return [whole, replace(with_muted(whole, words), before=second)]

        return self.handlers.want(session, results)

    def _columns(self, result: Result) -> tuple[Tensor, Tensor]:
        """What the model read and wrote, and where each token stands on the axis; -1 for what is not shown."""
        ids = torch.cat([result.task.prompt, result.completion.new])
        hidden = len(ids) - len(result.completion.ids)
        columns = even_columns(len(ids) - hidden)
        times = self.modality.token_times(ids[hidden:], result.loaded.tokenizer)
        if times is not None:
            columns = (times / max(float(times[-1]), 1e-9) * (COLUMNS - 1)).long()
        return ids, torch.cat([torch.full((hidden,), -1), columns])

    def _drawn(self, session: Session) -> str:
        """The scalogram and the kernels of the chosen layer."""
        if session.scaled is None or session.scalogram is None:
            return ""
        result, found = session.scalogram
        if result is not self._chosen(session):
            return ""
        model = result.task.model
        layer = min(session.layer, len(model.mixers))
        names = [f"{2**level:,}" for level in found.levels]
        there = [result] if session.scaled == PROMPT else [one for one in session.results if one]
        tokenizers = [one.loaded.tokenizer for one in there]
        axes = self.modality.axes([one.completion for one in there], tokenizers)
        seconds, end, unit = self._axis(result, axes)
        figure = scalogram_figure(found.values[layer - 1], names, (0.0, end), seconds, unit)
        tokens = self.modality.tokens
        return (
            f"{card_view((*CARDS, 'prompt')[session.scaled], figure)}"
            f'<p class="note">Layer {layer} of {len(model.mixers)}: rows are averages over the last '
            f"{names[0]} to {names[-1]} {tokens}. Bright is where an average is far from its own mean.</p>"
            f"{kernels(model, layer, self.modality)}"
        )

    def _axis(self, result: Result, axes: Any) -> tuple[float, float, str]:
        """Length of the axis, the end of the result on it, and its unit: the axes of the views above."""
        completion, tokenizer = result.completion, result.loaded.tokenizer
        if axes is None:
            return float(len(completion.ids)), float(len(completion.ids)), self.modality.tokens
        times = self.modality.token_times(completion.ids, tokenizer)
        end = self.modality.amount(len(completion.ids), tokenizer) if times is None else float(times[-1])
        return axes.seconds, end, "s"


def kernels(model: Any, layer: int, modality: AppModality[Any]) -> str:
    """The kernels of a layer by level, if they are learned."""
    wavelet = wavelet_of(model.mixers[layer - 1])
    if wavelet.kind != "learnable":
        return ""
    matrix, levels = wavelet.kernel_matrix().detach().cpu(), wavelet.levels.cpu()
    drawn = [
        kernel_figure(matrix[levels == level, : 2**level].numpy(), f"{2**level:,} {modality.tokens}")
        for level in levels_of(model)
    ]
    return (
        '<p class="note">Its kernels, the newest token on the left: what each coordinate learned (thin), their mean '
        f'(bold), and Haar\'s, which weighs all alike (dashed).</p><div class="kernels">{"".join(drawn)}</div>'
    )
