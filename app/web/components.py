"""The components of a tab: what is read when Generate is pressed, and what then changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import FACT_TYPES
from waveletgpt.app.web.markup import card
from waveletgpt.app.web.player import player

ROLES = ("baseline", "wavelet")
TOP_K = 200  # the largest that the page offers
LONGEST_PROMPT = 20_000  # characters that may be typed
RANDOM_SEED = "() => Math.floor(Math.random() * 1000000)"


@dataclass(frozen=True)
class Column:
    """One checkpoint and its result."""

    checkpoint: gr.Dropdown
    card: gr.HTML
    view: gr.HTML
    metrics: gr.HTML
    player: gr.HTML | None
    """None if the result has no sound."""
    downloads: dict[str, gr.DownloadButton]
    """By suffix."""

    @property
    def outputs(self) -> list[Component]:
        """The components that show the result."""
        return [self.view, self.metrics, *([self.player] if self.player else []), *self.downloads.values()]


@dataclass(frozen=True)
class Answer:
    """What the endpoint returns about one result."""

    files: dict[str, gr.File]
    """By suffix."""
    facts: gr.JSON

    @property
    def outputs(self) -> list[Component]:
        """Its components, in the order in which the endpoint returns them."""
        return [*self.files.values(), self.facts]


@dataclass(frozen=True)
class TabComponents:
    """The components that the handlers of a tab change."""

    generation: gr.State
    """A `Generation`: the last press of Generate."""
    status: gr.HTML
    agreement: gr.HTML
    columns: list[Column]
    """In the order of `ROLES`."""
    answers: list[Answer]
    """In the order of `ROLES`."""

    @property
    def shown(self) -> list[Component]:
        """The components that a run of the models changes."""
        return [self.status, self.agreement, *(output for column in self.columns for output in column.outputs)]


def prompt(modality: AppModality[Any], entries: Sequence[CheckpointEntry]) -> Component:
    """The input for a prompt: a recorder, an upload or a text box."""
    field, elem_id = modality.prompt, f"{modality.name}-prompt"
    if field.records:
        return gr.Audio(
            label=field.label,
            sources=["upload", "microphone"],
            type="filepath",
            buttons=[],
            elem_id=elem_id,
        )
    if field.suffixes:
        return gr.File(
            label=field.label,
            file_types=list(field.suffixes),
            type="filepath",
            height=120,
            elem_id=elem_id,
        )
    return gr.Textbox(
        modality.example([entry.info.tokenizer for entry in entries]),
        label=field.label,
        lines=4,
        max_lines=8,
        max_length=LONGEST_PROMPT,
        elem_id=elem_id,
    )


def default_sampling(modality: AppModality[Any], entries: Sequence[CheckpointEntry]) -> dict[str, float | None]:
    """Temperature, top_p and min_p of the wavelet checkpoint that is chosen at first; both columns use them."""
    ordered = sorted(entries, key=lambda entry: entry.is_baseline)  # stable: wavelets first
    return modality.sampling(ordered[0].info if ordered else None)


def settings(modality: AppModality[Any], entries: Sequence[CheckpointEntry]) -> dict[str, Component]:
    """The settings that are always visible, by their names in `Inputs`."""
    size = modality.length
    length = gr.Slider(size.lowest, size.highest, size.default, step=size.step, label=f"Length in {modality.unit}")
    temperature = gr.Slider(0, 2, default_sampling(modality, entries)["temperature"], step=0.05, label="Temperature")
    shuffle = gr.Button("New seed", size="sm", render=False)
    seed = gr.Number(0, precision=0, minimum=0, label="Seed", buttons=[shuffle])
    shuffle.click(None, None, seed, js=RANDOM_SEED, api_visibility="private")
    return {"length": length, "temperature": temperature, "seed": seed}


def more_settings(modality: AppModality[Any], entries: Sequence[CheckpointEntry]) -> dict[str, Component]:
    """The settings that are folded away, by their names in `Inputs`."""
    kept, sampling = modality.keep, default_sampling(modality, entries)
    top_p, min_p = sampling["top_p"] or 1.0, sampling["min_p"] or 0.0
    return {
        "top_k": gr.Slider(0, TOP_K, 0, step=1, label="Top-k", info="Tokens to choose from; 0 for all"),
        "top_p": gr.Slider(0.05, 1, top_p, step=0.01, label="Top-p", info="Probability to choose from; 1 for all"),
        "min_p": gr.Slider(0, 0.5, min_p, step=0.01, label="Min-p", info="Least probability, as a part of the highest"),
        "repetition_penalty": gr.Slider(
            1, 2, 1.0, step=0.05, label="Repetition penalty", info="Against tokens that are there already; 1 for none"
        ),
        "keep": gr.Slider(
            kept.lowest,
            kept.highest,
            kept.default,
            step=kept.step,
            label=f"Prompt to keep, in {modality.unit}",
            info="Its end, with which the results begin",
        ),
    }


def column(modality: AppModality[Any], entries: Sequence[CheckpointEntry], role: str) -> Column:
    """A choice of checkpoints above an empty result."""
    choices = {entry.name: entry for entry in entries if entry.is_baseline == (role == "baseline")}
    chosen = next(iter(choices), None)
    with gr.Column(min_width=290, elem_id=f"{modality.name}-{role}"):
        checkpoint = gr.Dropdown(list(choices), value=chosen, label=role.capitalize(), filterable=False)
        about = gr.HTML(card(choices.get(chosen or ""), modality))
        view, metrics = gr.HTML('<div class="blank"></div>'), gr.HTML('<p class="metrics"></p>')
        sound = player(f"{role} sound") if ".wav" in modality.files else None
        downloads = {}
        if modality.files:
            with gr.Row():
                downloads = {suffix: _download(suffix) for suffix in modality.files}
    return Column(checkpoint, about, view, metrics, sound, downloads)


def _download(suffix: str) -> gr.DownloadButton:
    return gr.DownloadButton(f"Download {suffix[1:].upper()}", size="sm", interactive=False, min_width=110)


def answer(modality: AppModality[Any], role: str) -> Answer:
    """What the endpoint returns about one result, with the JSON types for its documentation."""
    files = {suffix: gr.File(label=f"{role} {suffix} file") for suffix in modality.files}
    types = {**FACT_TYPES, **modality.fact_types}
    schema = {"type": "object", "properties": {name: _json_schema(kinds) for name, kinds in types.items()}}
    facts = gr.JSON(label=f"{role} result")
    facts.api_info = lambda: schema  # set on the instance: for a subclass, gradio writes a .pyi beside this file
    return Answer(files, facts)


def _json_schema(kinds: str) -> dict[str, Any]:
    """The JSON schema of types such as "integer" and "number or null"."""
    schemas = [{"type": kind} for kind in kinds.split(" or ")]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
