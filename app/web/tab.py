"""One tab of the page: a prompt and settings beside two columns of results, and the endpoint that does the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import Modality
from waveletgpt.app.results import FACT_TYPES
from waveletgpt.app.web.handlers import ROLES, Handlers
from waveletgpt.app.web.markup import note
from waveletgpt.app.web.player import player

TOP_K = 200  # the largest that the page offers
LONGEST_PROMPT = 20_000  # characters that may be typed
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RANDOM_SEED = "() => Math.floor(Math.random() * 1000000)"


@dataclass(frozen=True)
class Column:
    """The components that show one result."""

    checkpoint: gr.Dropdown
    outputs: list[gr.components.Component]
    """View, figures, player (where there is sound), downloads."""


def build_tab(modality: Modality[Any], listed: Sequence[CheckpointEntry]) -> None:
    """Add a modality's tab to the page that is being built, with the endpoint `/generate_<modality>`."""
    handlers = Handlers(modality, {one.name: one for one in listed})
    with gr.Row():
        with gr.Column(scale=3, min_width=290):
            prompt = _prompt(modality, listed)
            length, temperature, seed = _settings(modality)
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", min_width=120)
                stop = gr.Button("Stop", min_width=80)
            status = gr.HTML(note(modality.prompt.hint))
            with gr.Accordion("More settings", open=False):
                top_k, top_p, min_p, penalty, keep = _more_settings(modality)
        with gr.Column(scale=8, min_width=300):
            with gr.Row():
                columns = [_column(modality, listed, role, handlers) for role in ROLES]
            agreement = gr.HTML()
    checkpoints = [column.checkpoint for column in columns]
    inputs = [prompt, *checkpoints, length, temperature, top_k, top_p, min_p, seed, keep, penalty]

    press = gr.State(None)
    outputs = [status, agreement, *(output for column in columns for output in column.outputs)]
    lines = [column.outputs[1] for column in columns]
    # One at a time, and with the values as they arrive: `Inputs` judges them.
    work = {"preprocess": False, "concurrency_limit": 1, "concurrency_id": modality.name}
    begun = generate.click(handlers.begin, press, [press, status], queue=False, **PRIVATE)
    run = begun.then(handlers.run, [press, *inputs], outputs, **work, **PRIVATE)
    run.then(handlers.judge, press, lines, concurrency_id="judge", **PRIVATE)  # the next in line need not wait for it
    stop.click(handlers.stop, press, status, queue=False, **PRIVATE)

    # The endpoint reads the page's inputs, so that it has their bounds and defaults.
    with gr.Column(visible=False):
        answers, call = _answers(modality), gr.Button()
    call.click(
        handlers.answer,
        inputs,
        answers,
        api_name=f"generate_{modality.name}",
        api_description=_description(modality),
        **work,
    )


def _prompt(modality: Modality[Any], listed: Sequence[CheckpointEntry]) -> gr.components.Component:
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
        modality.example([one.info.tokenizer for one in listed]),
        label=field.label,
        lines=4,
        max_lines=8,
        max_length=LONGEST_PROMPT,
        elem_id=elem_id,
    )


def _settings(modality: Modality[Any]) -> list[gr.components.Component]:
    """Length, temperature, seed."""
    size = modality.length
    length = gr.Slider(size.lowest, size.highest, size.default, step=size.step, label=f"Length in {modality.unit}")
    temperature = gr.Slider(0, 2, modality.temperature, step=0.05, label="Temperature")
    shuffle = gr.Button("New seed", size="sm", render=False)
    seed = gr.Number(0, precision=0, minimum=0, label="Seed", buttons=[shuffle])
    shuffle.click(None, None, seed, js=RANDOM_SEED, api_visibility="private")
    return [length, temperature, seed]


def _more_settings(modality: Modality[Any]) -> list[gr.components.Component]:
    """Top-k, top-p, min-p, repetition penalty, how much of the prompt to keep."""
    kept = modality.keep
    return [
        gr.Slider(0, TOP_K, 0, step=1, label="Top-k", info="Tokens to choose from; 0 for all"),
        gr.Slider(0.05, 1, 1.0, step=0.01, label="Top-p", info="Probability to choose from; 1 for all"),
        gr.Slider(0, 0.5, 0.0, step=0.01, label="Min-p", info="Least probability, as a part of the highest"),
        gr.Slider(
            1, 2, 1.0, step=0.05, label="Repetition penalty", info="Against tokens that are there already; 1 for none"
        ),
        gr.Slider(
            kept.lowest,
            kept.highest,
            kept.default,
            step=kept.step,
            label=f"Prompt to keep, in {modality.unit}",
            info="Its end, with which the results begin",
        ),
    ]


def _column(modality: Modality[Any], listed: Sequence[CheckpointEntry], role: str, handlers: Handlers) -> Column:
    names = [one.name for one in listed if one.is_baseline == (role == "baseline")]
    chosen = names[0] if names else None
    with gr.Column(min_width=290, elem_id=f"{modality.name}-{role}"):
        checkpoint = gr.Dropdown(names, value=chosen, label=role.capitalize(), filterable=False)
        about = gr.HTML(handlers.card(chosen))
        outputs = [gr.HTML('<div class="blank"></div>'), gr.HTML('<p class="figures"></p>')]
        if handlers.has_player:
            outputs.append(player(f"{role} sound"))
        if modality.files:
            with gr.Row():
                outputs += [
                    gr.DownloadButton(f"Download {suffix[1:].upper()}", size="sm", interactive=False, min_width=110)
                    for suffix in modality.files
                ]
    checkpoint.change(handlers.card, checkpoint, about, **PRIVATE)
    return Column(checkpoint, outputs)


def _answers(modality: Modality[Any]) -> list[gr.components.Component]:
    """What the endpoint returns: for each column its files and its figures."""
    answers: list[gr.components.Component] = []
    for role in ROLES:
        answers += [gr.File(label=f"{role} {suffix} file") for suffix in modality.files]
        answers.append(_facts(modality, f"{role} result"))
    return answers


def _facts(modality: Modality[Any], label: str) -> gr.JSON:
    """The figures of a result, with their types in the endpoint's documentation."""
    types = {**FACT_TYPES, **modality.fact_types}
    schema = {"type": "object", "properties": {name: _type(kind) for name, kind in types.items()}}
    facts = gr.JSON(label=label)
    facts.api_info = lambda: schema  # on this one alone: a subclass makes gradio write a .pyi beside this file
    return facts


def _type(kinds: str) -> dict[str, Any]:
    """The JSON schema of "integer", "number or null" and their likes."""
    schemas = [{"type": kind} for kind in kinds.split(" or ")]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _description(modality: Modality[Any]) -> str:
    files = "".join(f"a {suffix} file, " for suffix in modality.files)
    early = "while the results grow" + ("" if modality.heard_early or not files else ", files at the end")
    return (
        f"Continue a {modality.name} prompt with a baseline and a wavelet checkpoint, side by side. length and keep "
        f"(how much of the prompt's end the results begin with) are in {modality.unit}. top_k 0, top_p 1, min_p 0 and "
        f"repetition_penalty 1 change nothing. Returns for each checkpoint {files}{'and ' if files else ''}its "
        "figures: bits_per_token says how surprising the model itself finds what it wrote, bits_per_token_by_other how "
        "surprising the other one does (it comes last and is null until then), first_divergence how many new tokens "
        f"the two have in common before they choose differently (null if they never do). Answers come {early}."
    )
