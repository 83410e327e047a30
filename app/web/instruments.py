"""The components of the instruments below the cards: surprise, scales, novelty. All are folded away, and off."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.web.scripts import script

MODES = (("Off", ""), ("By its own model", "own"), ("By the other model", "other"))
"""Whose surprise marks a result."""


@dataclass(frozen=True)
class LookingComponents:
    """Surprise, and what else might have been written. Nothing is computed while the mode is off."""

    mode: gr.Radio
    plot: gr.HTML
    """Running bits."""
    choices: gr.HTML
    """The alternatives in a place."""


@dataclass(frozen=True)
class ScalesComponents:
    """The time scales of wavelet layers. Nothing is computed while no card is chosen."""

    card: gr.Radio
    layer: gr.Slider
    view: gr.HTML
    levels: gr.CheckboxGroup
    where: gr.Radio
    mute: gr.Button

    @property
    def outputs(self) -> list[Component]:
        """What changes with the card and its result."""
        return [self.layer, self.view, self.levels, self.where, self.mute]


@dataclass(frozen=True)
class NoveltyComponents:
    """What results share with the training data. Nothing is computed while it is off."""

    compare: gr.Checkbox
    view: gr.HTML


def looking(modality: AppModality[Any]) -> LookingComponents:
    """What looks closer at the results, folded away."""
    title = "Surprise: what the models did not expect, and what else they might have written"
    with gr.Accordion(title, open=False, elem_classes="looking"):
        mode = gr.Radio(
            [*MODES],
            value="",
            label=f"Mark each {modality.token} by how little a model expected it",
            info="A coin's fall surprises by one bit, a die's by 2.6. The stronger the colour, the more bits.",
        )
        return LookingComponents(
            mode, gr.HTML(""), gr.HTML("", js_on_load=script("looking.js"), elem_classes="choices")
        )


def scales(modality: AppModality[Any]) -> ScalesComponents:
    """What shows and mutes time scales, folded away."""
    title = "Scales: what the wavelet layers remember, from the last 2 tokens to the last hundreds"
    with gr.Accordion(title, open=False, elem_classes="time-scales"):
        with gr.Row():
            choices = [("Off", None), ("Card A", 0), ("Card B", 1), ("The prompt", 2)]
            card = gr.Radio(choices, value=None, label="Show the scales of", min_width=200)
            layer = gr.Slider(1, 2, 1, step=1, label="Layer", visible="hidden", min_width=200)
        view = gr.HTML("", js_on_load=script("scales.js"))
        info = (
            f"In {modality.tokens}. The result is made again with the same random numbers, and stands beside the whole."
        )
        levels = gr.CheckboxGroup([], label="Mute scales", info=info, visible="hidden")
        with gr.Row():
            where = gr.Radio(["In all layers", "In this layer"], value="In all layers", label="Where", visible="hidden")
            mute = gr.Button("Make it again without them", size="sm", visible="hidden", elem_classes="mute")
    return ScalesComponents(card, layer, view, levels, where, mute)


def novelty() -> NoveltyComponents:
    """What compares results with the training data, folded away."""
    title = "Is it new? The longest run that a result shares with what its model was trained on"
    with gr.Accordion(title, open=False, elem_classes="is-it-new"):
        compare = gr.Checkbox(
            value=False,
            label="Compare every result with the training data",
            info="A model that copies shares longer runs than people do who never saw each other's work.",
        )
        return NoveltyComponents(compare, gr.HTML(""))
