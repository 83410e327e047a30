"""The components of a tab: what is read when a button is pressed, and what then changes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.web.inputs import Settings
from waveletgpt.app.web.instruments import LookingComponents, NoveltyComponents, ScalesComponents
from waveletgpt.app.web.markup import about, blank
from waveletgpt.app.web.session import CARDS

TOP_K = 200  # the largest that the page offers
COPY = '<button type="button" class="plain copy-text">Copy</button>'
RANDOM_SEED = "() => Math.floor(Math.random() * 1000000)"


def private(unseen: Component) -> dict[str, Any]:
    """Options of an event that programs do not see.

    With every message of an event, Gradio tells the progress of all events to all of their outputs, and for that copies
    what they hold. `unseen`, a component that shows nothing, is told instead.
    """
    return {"show_progress": "hidden", "show_progress_on": unseen, "api_visibility": "private"}


@dataclass(frozen=True)
class Card:
    """One checkpoint and its result."""

    checkpoint: gr.Dropdown
    about: gr.HTML
    view: gr.HTML
    variation: gr.Radio
    go_on: gr.Button
    undo: gr.Button
    branch: gr.Button
    downloads: dict[str, gr.DownloadButton]
    """By suffix."""

    @property
    def actions(self) -> list[gr.Button]:
        """Buttons that need a result."""
        return [self.go_on, self.undo, self.branch]

    @property
    def outputs(self) -> list[Component]:
        """The components that show the result."""
        return [self.checkpoint, self.about, self.view, self.variation, *self.actions, *self.downloads.values()]


@dataclass(frozen=True)
class Passage:
    """The part of a file that becomes the prompt, to be chosen, seen and heard."""

    until: gr.Slider
    """Where it ends, in seconds; 0 for the end of what is read."""
    view: gr.HTML
    sound: gr.Audio

    @property
    def outputs(self) -> list[Component]:
        """All of it."""
        return [self.until, self.view, self.sound]


@dataclass(frozen=True)
class TabComponents:
    """The components that the handlers of a tab change."""

    session: gr.State
    """A `Session`."""
    generate: gr.Button
    """Reads Stop while something is being made."""
    status: gr.HTML
    cards: list[Card]
    """In the order of `CARDS`."""
    transport: gr.HTML | None
    """None if results have no sound."""
    agreement: gr.HTML
    losses: gr.HTML
    bundle: gr.DownloadButton
    """A zip of both cards."""
    address: gr.HTML
    """Puts a recipe into the page's address."""
    panel: dict[str, Component]
    """The prompt bar: "prompt", "example", "until", and the settings by their names in `Settings`."""
    history: gr.BrowserState
    """What was made on this browser, newest first."""
    made: gr.Dataset
    """The history as buttons."""
    looking: LookingComponents
    scales: ScalesComponents
    novelty: NoveltyComponents

    @property
    def shown(self) -> list[Component]:
        """The components that a press and the work after it change."""
        return [
            self.session,
            self.generate,
            self.status,
            self.agreement,
            self.losses,
            self.bundle,
            self.address,
            self.history,
            *([self.transport] if self.transport else []),
            *self.panel.values(),
            *(output for card in self.cards for output in card.outputs),
            self.looking.plot,
            self.looking.choices,
            *self.scales.outputs,
            self.novelty.view,
        ]


def prompt(modality: AppModality[Any], text: str) -> Component:
    """The input for a prompt: a recorder, an upload, or a text box that holds `text`."""
    field, elem_id = modality.prompt, f"{modality.name}-prompt"
    if field.records:
        return gr.Audio(
            label=field.label, sources=["upload", "microphone"], type="filepath", buttons=[], elem_id=elem_id
        )
    if field.suffixes:
        return gr.File(label=field.label, file_types=list(field.suffixes), type="filepath", height=140, elem_id=elem_id)
    return gr.Textbox(text, label=field.label, lines=3, max_lines=8, elem_id=elem_id, placeholder=field.hint)


def passage(modality: AppModality[Any]) -> Passage:
    """Hidden until there is a file."""
    until = gr.Slider(0, 1, 0, step=0.1, label="Go on from second", visible=False, elem_id=f"{modality.name}-until")
    with gr.Row():
        with gr.Column(min_width=280):
            view = gr.HTML(visible=False)
        with gr.Column(min_width=280):
            sound = gr.Audio(label="What the models hear", interactive=False, buttons=[], visible=False)
    return Passage(until, view, sound)


def default_checkpoints(entries: Mapping[str, CheckpointEntry]) -> list[str | None]:
    """A baseline for A and for B, of the same data if it can be, the wavelet of lowest validation loss."""
    baselines = [entry for entry in entries.values() if entry.is_baseline]
    data = baselines[0].info.trained_on.get("sha256") if baselines else None
    wavelets = sorted(
        (entry for entry in entries.values() if not entry.is_baseline),
        key=lambda e: (e.info.trained_on.get("sha256") != data, e.info.losses.get("val", math.inf)),
    )
    if not baselines or not wavelets:
        names = [*entries]
        return [names[0] if names else None, names[1] if len(names) > 1 else None]
    return [baselines[0].name, wavelets[0].name]


def default_settings(modality: AppModality[Any], entry: CheckpointEntry | None) -> dict[str, Any]:
    """The settings, by their names in `Settings`. Temperature, top_p and min_p are those of B's checkpoint."""
    sampling = modality.sampling(entry.info if entry else None)
    return {
        "length": modality.length_on_page.default,
        "temperature": sampling["temperature"],
        "seed": 0,
        "variations": 1,
        "paired": True,
        "keep": modality.keep.default,
        "top_k": 0,
        "top_p": sampling["top_p"] or 1,
        "min_p": sampling["min_p"] or 0,
        "repetition_penalty": 1,
    }


def settings(modality: AppModality[Any], values: Mapping[str, Any]) -> dict[str, Component]:
    """The settings that are always visible, by their names in `Settings`, with `values`."""
    label = f"Length in {modality.length_unit}"
    length = _slider(modality.length_on_page, values["length"], label=label, elem_classes="length")
    temperature = gr.Slider(
        0,
        2,
        values["temperature"],
        step=0.05,
        label="Tame to wild",
        info="Temperature",
        min_width=150,
    )
    return {"length": length, "temperature": temperature}


def _slider(extent: Extent, value: float, **properties: Any) -> gr.Slider:
    """A slider with the bounds and the step of a length."""
    return gr.Slider(extent.lowest, extent.highest, value, step=extent.step, min_width=150, **properties)


def more_settings(modality: AppModality[Any], values: Mapping[str, Any]) -> dict[str, Component]:
    """The settings that are folded away, by their names in `Settings`, with `values`."""
    with gr.Row():
        seed = gr.Number(
            values["seed"], precision=0, minimum=0, label="Seed", info="Equal seeds give equal results", min_width=150
        )
        variations = gr.Slider(
            1,
            modality.most_variations,
            values["variations"],
            step=1,
            label="Variations",
            info="Results on each card",
            min_width=150,
        )
        label = f"Prompt used, in {modality.unit}"
        keep = _slider(modality.keep, values["keep"], label=label, info="At most this much of its end")
        paired = gr.Checkbox(
            value=values["paired"],
            label="Same random numbers",
            info="A and B then differ only where they disagree",
            min_width=150,
        )
    with gr.Row():
        top_k = gr.Slider(
            0, TOP_K, values["top_k"], step=1, label="Top-k", info="Tokens to choose from; 0 for all", min_width=150
        )
        top_p_slider = gr.Slider(
            0.05,
            1,
            values["top_p"],
            step=0.01,
            label="Top-p",
            info="Probability to choose from; 1 for all",
            min_width=150,
        )
        min_p_slider = gr.Slider(
            0,
            0.5,
            values["min_p"],
            step=0.01,
            label="Min-p",
            info="Least probability, as a part of the highest",
            min_width=150,
        )
        penalty = gr.Slider(
            1,
            2,
            values["repetition_penalty"],
            step=0.05,
            label="Repetition penalty",
            info="Against what is there; 1 for none",
            min_width=150,
        )
    return {
        "seed": seed,
        "variations": variations,
        "keep": keep,
        "paired": paired,
        "top_k": top_k,
        "top_p": top_p_slider,
        "min_p": min_p_slider,
        "repetition_penalty": penalty,
    }


def card(modality: AppModality[Any], entries: Mapping[str, CheckpointEntry], number: int, chosen: str | None) -> Card:
    """A choice of checkpoints, an empty result, and what can be done with it."""
    name = CARDS[number].upper()
    with gr.Column(min_width=300, elem_id=f"{modality.name}-{CARDS[number]}", elem_classes="result"):
        checkpoint = gr.Dropdown(list(entries), value=chosen, label=f"Card {name}", filterable=False)
        line = gr.HTML(about(entries.get(chosen or ""), modality))
        view = gr.HTML(blank())
        variation = gr.Radio(["1"], value="1", label="Variation", visible=False)
        with gr.Row():
            go_on = gr.Button("Continue", size="sm", interactive=False, min_width=90)
            undo = gr.Button("Undo", size="sm", interactive=False, min_width=70)
            branch = gr.Button(f"A and B go on from {name}", size="sm", interactive=False, min_width=150)
        with gr.Row():
            if modality.is_printed:
                gr.HTML(COPY, min_width=80)
            downloads = {
                suffix: gr.DownloadButton(f"Save {suffix[1:].upper()}", size="sm", interactive=False, min_width=80)
                for suffix in modality.files
            }
    return Card(checkpoint, line, view, variation, go_on, undo, branch, downloads)


def names_of(settings: dict[str, Component]) -> list[Component]:
    """The components in the order of `Settings`."""
    return [*Settings(**settings)]
