"""One tab of the page: a prompt and settings beside two columns of results, and the endpoint that does the same."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.web import components
from waveletgpt.app.web.components import ROLES, TabComponents
from waveletgpt.app.web.handlers import Handlers
from waveletgpt.app.web.inputs import Inputs
from waveletgpt.app.web.markup import note

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build_tab(modality: AppModality[Any], entries: Sequence[CheckpointEntry]) -> Handlers:
    """Add a modality's tab to the page that is being built, with the endpoint `/generate_<modality>`.

    Args:
        modality: kind of data.
        entries: its checkpoints.

    Returns:
        What is called when the tab's buttons are pressed.
    """
    with gr.Row():
        with gr.Column(scale=3, min_width=290):
            prompt = components.prompt(modality, entries)
            settings = components.settings(modality, entries)
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", min_width=120)
                stop = gr.Button("Stop", min_width=80)
            status = gr.HTML(note(modality.prompt.hint))
            with gr.Accordion("More settings", open=False):
                settings |= components.more_settings(modality, entries)
        with gr.Column(scale=8, min_width=300):
            with gr.Row():
                columns = [components.column(modality, entries, role) for role in ROLES]
            agreement = gr.HTML()
    with gr.Column(visible=False):
        answers = [components.answer(modality, role) for role in ROLES]
        call = gr.Button()
    tab = TabComponents(gr.State(None), status, agreement, columns, answers)
    handlers = Handlers(modality, entries, tab)
    baseline, wavelet = (column.checkpoint for column in columns)
    inputs = [*Inputs(prompt=prompt, baseline=baseline, wavelet=wavelet, **settings)]

    for column in columns:
        column.checkpoint.change(handlers.card, column.checkpoint, column.card, **PRIVATE)
    # One run at a time. The values come as they are, since `Inputs` checks them.
    work = {"preprocess": False, "concurrency_limit": 1, "concurrency_id": modality.name}
    # "multiple", since with the default, "once", a chained event that still runs drops the next press.
    chained = {"trigger_mode": "multiple", **PRIVATE}
    begin = generate.click(handlers.begin, None, [tab.generation, status], queue=False, **PRIVATE)
    run = begin.then(handlers.generate, [tab.generation, *inputs], tab.shown, **work, **chained)
    lines = [column.metrics for column in columns]
    score = run.success(handlers.score, tab.generation, lines, concurrency_id="score", **chained)
    generate.click(None, cancels=[run, score])
    stop.click(handlers.stop, tab.generation, None, queue=False, **PRIVATE)
    # The endpoint reads the page's inputs, so it has their bounds and defaults.
    call.click(
        handlers.answer,
        inputs,
        [output for answer in answers for output in answer.outputs],
        api_name=f"generate_{modality.name}",
        api_description=_description(modality),
        **work,
    )
    return handlers


def _description(modality: AppModality[Any]) -> str:
    files = "".join(f"a {suffix} file, " for suffix in modality.files)
    early = "while the results grow" + ("" if modality.heard_early or not files else ", files at the end")
    return (
        f"Continue a {modality.name} prompt with a baseline and a wavelet checkpoint, side by side. length and keep "
        f"(how much of the prompt's end the results begin with) are in {modality.unit}. top_k 0, top_p 1, min_p 0 and "
        f"repetition_penalty 1 change nothing. Returns for each checkpoint {files}{'and ' if files else ''}its "
        "metrics: bits_per_token is the model's own loss on what it wrote, bits_per_token_by_other the other model's "
        "loss on it (it comes last and is null until then), first_divergence how many new tokens the two have in "
        f"common before the first that differs (null if none does). Answers come {early}."
    )
