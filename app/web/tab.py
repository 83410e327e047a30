"""One tab of the page: a prompt bar above two cards of results."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.openings import opening_recipes
from waveletgpt.app.results import recipe_entry
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.web import components, instruments
from waveletgpt.app.web.components import RANDOM_SEED, TabComponents
from waveletgpt.app.web.display import Changes
from waveletgpt.app.web.handlers import Handlers
from waveletgpt.app.web.looking import Looking
from waveletgpt.app.web.markup import note
from waveletgpt.app.web.novelty import NoveltyHandlers
from waveletgpt.app.web.panel import panel_values, prompt_text
from waveletgpt.app.web.scales import Scales
from waveletgpt.app.web.scripts import address
from waveletgpt.app.web.session import CARDS, Session
from waveletgpt.app.web.transport import transport
from waveletgpt.tokenizers.registry import tokenizer_from_dict


def build_tab(modality: AppModality[Any], library: Library, history: gr.BrowserState, visitors: Visitors) -> Handlers:
    """Add a modality's tab to the page that is being built.

    Args:
        modality: kind of data.
        library: its checkpoints.
        history: what was made on this browser, of all kinds.
        visitors: who is there.

    Returns:
        What is called when the tab's buttons are pressed.
    """
    entries = library.entries()
    chosen = components.default_checkpoints(entries)
    values = components.default_settings(modality, entries.get(chosen[1] or ""))
    recipes = opening_recipes(modality, entries)
    text = ""
    if recipes:  # the tab opens with their results
        tokenizer = tokenizer_from_dict(recipe_entry(entries, recipes[0]).info.tokenizer)
        values, text = panel_values(modality, recipes, tokenizer), prompt_text(modality, recipes[0], tokenizer)
    example = gr.State("")
    with gr.Column(elem_classes="bar"):
        with gr.Row():
            with gr.Column(scale=5, min_width=280):
                prompt = components.prompt(modality, text)
            with gr.Column(scale=1, min_width=150):
                generate = gr.Button("Generate", variant="primary", elem_classes="generate")
                dice = gr.Button("Another", elem_classes="dice")
        titles = [[one.title] for one in modality.examples()]
        examples = gr.Dataset(
            components=["textbox"],
            samples=titles,
            label="Or begin with",
            type="index",
            elem_classes="examples",
        )
        passage = components.passage(modality) if modality.prompt.suffixes else None
        with gr.Row():
            settings = components.settings(modality, values)
        with gr.Accordion("More settings", open=False):
            settings |= components.more_settings(modality, values)
        status = gr.HTML(note(modality.prompt.hint))
    with gr.Row(elem_classes="cards"):
        cards = [components.card(modality, entries, number, chosen[number]) for number in range(len(CARDS))]
    player = transport(modality.name) if modality.is_heard else None
    agreement, losses = gr.HTML(), gr.HTML()
    with gr.Row(elem_classes="keep"):
        bundle = gr.DownloadButton("Save both as ZIP", size="sm", interactive=False, min_width=140)
        place = address()
        upload = gr.UploadButton(
            "Open a result",
            size="sm",
            file_types=[".wav", ".mid", ".json"],
            type="filepath",
            min_width=140,
            elem_classes="open-result",
        )
    below = instruments.looking(modality), instruments.scales(modality), instruments.novelty()
    until = passage.until if passage else gr.State(0)
    panel = {"prompt": prompt, "example": example, "until": until, **settings}
    made = gr.Dataset(
        components=["textbox"],
        samples=[],
        label="Made on this browser",
        type="index",
        visible="hidden",
        elem_classes="history",
    )
    tab = TabComponents(
        gr.State(Session()),
        generate,
        status,
        cards,
        player,
        agreement,
        losses,
        bundle,
        place,
        panel,
        history,
        made,
        *below,
    )
    handlers = Handlers(modality, library, tab, visitors)
    sources = [prompt, example, until]
    _connect(handlers, sources, examples, components.names_of(settings), settings["seed"], dice, upload)
    if passage:
        hear: dict[str, Any] = {"queue": False, **components.private(tab.session)}
        first, keep = cards[0].checkpoint, settings["keep"]
        prompt.change(handlers.new_passage, [prompt, example, first, keep], passage.outputs, **hear)
        moved = [passage.until.release, keep.release]
        gr.on(moved, handlers.passage, [*sources, first, keep], passage.outputs, **hear)
    return handlers


def _connect(  # noqa: PLR0917
    handlers: Handlers,
    sources: list[Component],
    examples: gr.Dataset,
    settings: list[Component],
    seed: Component,
    dice: gr.Button,
    upload: gr.UploadButton,
) -> None:
    """Connect the tab's buttons to the handlers."""
    tab = handlers.tab
    checkpoints = [card.checkpoint for card in tab.cards]
    private = components.private(tab.session)
    at_once: dict[str, Any] = {"queue": False, "preprocess": False, **private}
    work: dict[str, Any] = {"trigger_mode": "multiple", **private}  # none is left out because another is under way

    prompt = sources[0]
    asked = [*sources, *checkpoints, *settings]
    start(tab.generate.click, handlers.press, asked, handlers)
    thrown = dice.click(None, None, seed, js=RANDOM_SEED, **private)
    start(thrown.then, handlers.generate, asked, handlers)
    for number, card in enumerate(tab.cards):
        start(card.go_on.click, partial(handlers.go_on, number), [], handlers)
        start(card.branch.click, partial(handlers.branch, number), [*checkpoints, *settings], handlers)
        card.undo.click(partial(handlers.undo, number), tab.session, tab.shown, **work)
        card.variation.input(partial(handlers.choose, number), [tab.session, card.variation], tab.shown, **work)
        card.checkpoint.input(handlers.chosen, card.checkpoint, card.about, **at_once)
        card.checkpoint.focus(handlers.choices, card.checkpoint, card.checkpoint, **at_once)
    start(upload.upload, handlers.open_file, [upload], handlers)
    examples.click(handlers.take_example, examples, sources, **private)
    own = prompt_changes(prompt)  # a person's own prompt is no example, and is used to its end
    gr.on(own, lambda: ("", 0), None, sources[1:], queue=False, **private)
    _connect_instruments(handlers)
    start(tab.made.click, handlers.open_made, [tab.history, tab.made], handlers, preprocess=True)


def _connect_instruments(handlers: Handlers) -> None:
    """Connect what looks closer at the results."""
    tab, looking, scales, new = handlers.tab, Looking(handlers), Scales(handlers), NoveltyHandlers(handlers)
    handlers.instruments += [looking.follow, scales.follow, new.follow]
    private: dict[str, Any] = components.private(tab.session)
    tab.novelty.compare.input(new.choose, [tab.session, tab.novelty.compare], tab.novelty.view, **private)
    choices = tab.looking.choices
    views = [card.view for card in tab.cards]
    tab.looking.mode.input(
        looking.mark, [tab.session, tab.looking.mode], [*views, tab.looking.plot, choices], **private
    )
    choices.select(looking.look, tab.session, choices, trigger_mode="always_last", **private)
    chosen = choices.submit(looking.choose, tab.session, None, queue=False, **private)
    start(chosen.then, looking.branch, [], handlers)
    parts = tab.scales
    prompt = [tab.panel[name] for name in ("prompt", "example", "until", "keep")]
    names = [card.checkpoint for card in tab.cards]
    parts.card.input(scales.choose, [tab.session, parts.card, *prompt, *names], parts.outputs, **private)
    parts.layer.release(scales.layer, [tab.session, parts.layer], parts.view, **private)
    start(parts.mute.click, scales.mute, [parts.levels, parts.where], handlers)


def start(
    event: Callable[..., Any],
    press: Callable[..., Changes],
    inputs: list[Component],
    handlers: Handlers,
    *,
    preprocess: bool = False,
) -> None:
    """Let an event answer a press at once, and then do the work that it wants. `Scheduler` says when it works."""
    tab = handlers.tab
    private: dict[str, Any] = components.private(tab.session)
    event(
        answered(press, handlers),
        [tab.session, tab.history, *inputs],
        tab.shown,
        preprocess=preprocess,
        trigger_mode="multiple",
        **private,
    )


def answered(press: Callable[..., Changes], handlers: Handlers) -> Callable[..., Iterator[Changes]]:
    """A press, and the work if it wants some: Stop, and a tab that is opened again, want none."""

    def pressed(session: Session, history: Any, *values: Any) -> Iterator[Changes]:
        try:
            yield press(session, *values)
            if session.wanted:
                yield from handlers.run(session, history)
                yield from handlers.after(session)
        except Exception:
            yield handlers.failed(session)
            raise

    return pressed


def arrive(item: gr.Tab, handlers: Handlers) -> None:
    """Let the tab show something when it is opened."""
    start(item.select, lambda session: handlers.arrive(session, LocalContext.request.get()), [], handlers)


def list_history(history: gr.BrowserState, tabs: list[Handlers]) -> None:
    """Show the history below each tab's cards."""

    def listed(made: Any) -> Changes:
        return {handlers.tab.made: handlers.listed(made) for handlers in tabs}

    history.change(listed, history, [one.tab.made for one in tabs], queue=False, **components.private(history))


def prompt_changes(prompt: Component) -> list[Any]:
    """The events by which a person changes the prompt."""
    return [getattr(prompt, name) for name in ("input", "upload", "clear") if hasattr(prompt, name)]
