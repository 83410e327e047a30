"""The page: a tab for each modality, a blind test, training runs, and why."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import gradio as gr
import torch
from starlette.middleware import Middleware

from waveletgpt.app.access import Limits
from waveletgpt.app.checkpoints import Library
from waveletgpt.app.endpoints.api import add_endpoints
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.recipe import from_word
from waveletgpt.app.serving.scheduling import Scheduler
from waveletgpt.app.serving.server import Guard, Page
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.streaming import make_ready
from waveletgpt.app.tabs.reports import SHIPPED_REPORTS
from waveletgpt.app.tabs.runs import LABEL, Watching
from waveletgpt.app.tabs.which import build_which
from waveletgpt.app.tabs.why import build_why
from waveletgpt.app.web.components import private
from waveletgpt.app.web.first import FirstLook, first_look
from waveletgpt.app.web.markup import ABOUT, no_checkpoints
from waveletgpt.app.web.scripts import script
from waveletgpt.app.web.style import CSS, THEME
from waveletgpt.app.web.tab import arrive, build_tab, list_history
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.devices import pick_device

CLEANING = (600, 3600)  # every 600 s, delete files that are older than 3600 s
THREADS = 512  # more than there can be places; one that waits costs nothing


def build_page(
    directory: Path,
    results: Path = SHIPPED_REPORTS,
    device: str = "cpu",
    limits: Limits = Limits(),  # noqa: B008, it is frozen
    visitors: Visitors | None = None,
    *,
    runs: Path | None = None,
    votes: Path | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        directory: its checkpoints, of all modalities.
        results: its reports of comparisons.
        device: what its models compute on, as in `pick_device`.
        limits: what a visitor may ask for.
        visitors: who is there.
        runs: its runs, to watch while they train; None for no such tab.
        votes: the file of the blind test's votes; None for the user's own.

    Raises:
        InputError: one of the directories or the device does not exist.
    """
    visitors = visitors or Visitors(Scheduler(limits.places))
    modalities = {name: load_modality(name).limited(limits) for name in MODALITIES}
    computing = pick_device(device)
    libraries = {name: Library(directory, name, computing) for name in MODALITIES}
    # The endpoints come first, so that no handler of the page takes the name of one.
    with Page(title="waveletgpt", fill_width=True, analytics_enabled=False, delete_cache=CLEANING) as page:
        add_endpoints(libraries, modalities, visitors)
        gr.HTML(ABOUT, js_on_load=script("page.js"))
        history = gr.BrowserState([], storage_key="waveletgpt-history", secret="waveletgpt")  # noqa: S106, no secret
        handlers = []
        with gr.Tabs() as tabs:
            for name in MODALITIES:
                with gr.Tab(name.capitalize(), id=name, elem_id=f"{name}-tab") as item:
                    if libraries[name].entries():
                        handlers.append(build_tab(modalities[name], libraries[name], history, visitors))
                        arrive(item, handlers[-1])
                    else:
                        gr.HTML(no_checkpoints(name, str(directory)))
            with gr.Tab("Which?", id="which", elem_id="which-tab") as item:
                build_which(item, libraries, modalities, visitors, votes)
            if runs:
                with gr.Tab(LABEL, id="training", elem_id="training-tab") as item:
                    Watching(runs).connect(tabs, item)
            with gr.Tab("Why", id="why", elem_id="why-tab") as item:
                build_why(item, results)
        if handlers:
            list_history(history, handlers)
        page.load(_tab_of_address, None, tabs, queue=False, **private(history))
    return page


def _tab_of_address(request: gr.Request) -> Any:
    """Open the tab of the recipe in the page's address."""
    try:
        recipes = from_word(request.query_params.get("recipe", ""))
    except InputError:
        return gr.skip()
    return gr.Tabs(selected=next(one.modality for one in recipes if one))


def open_page(
    directory: Path,
    host: str,
    port: int,
    *,
    results: Path = SHIPPED_REPORTS,
    votes: Path | None = None,
    device: str = "cpu",
    mcp: bool = False,
    limits: Limits = Limits(),  # noqa: B008, it is frozen
    logins: Sequence[tuple[str, str]] = (),
    runs: Path | None = None,
    block: bool = True,
) -> gr.Blocks:
    """Serve the page on http://host:port.

    Args:
        directory: its checkpoints, of all modalities.
        host: address to serve it on.
        port: port to serve it on.
        results: its reports of comparisons.
        votes: the file of the blind test's votes; None for the user's own.
        device: what its models compute on, as in `pick_device`.
        mcp: whether to offer the endpoints as MCP tools too.
        limits: what a visitor may ask for.
        logins: names and passwords that open the page; none if it is open to all.
        runs: its runs, to watch while they train; None for no such tab.
        block: whether to return only when interrupted, by Ctrl-C or SIGTERM.

    Raises:
        InputError: one of the directories or the device does not exist, the port cannot be used, or MCP is not
            installed.
    """
    if mcp and not find_spec("mcp"):
        raise InputError('--mcp needs the Model Context Protocol; install it with pip install "gradio[mcp]"')
    if not 1 <= port <= 65535:
        raise InputError(f"--port is {port}; it must be from 1 to 65535")
    torch.set_num_threads(1)  # a token is too little work to split: more threads are slower
    visitors = Visitors(Scheduler(limits.places))
    page = build_page(directory, results, device, limits, visitors, runs=runs, votes=votes)
    page.queue(default_concurrency_limit=None, api_open=False)
    # A visitor who has to log in first sees nothing before.
    first = "" if logins else first_look(Library(directory, "text", pick_device(device)))
    middleware = [Middleware(Guard), visitors.middleware, Middleware(FirstLook, html=first)]
    Thread(
        target=make_ready, daemon=True
    ).start()  # the first press of Generate waits for it, opening the page does not
    try:
        page.launch(
            server_name=host,
            server_port=port,
            theme=THEME,
            css=CSS,
            footer_links=["api"],
            run_history=False,
            max_file_size=limits.upload_bytes,
            ssr_mode=False,
            mcp_server=mcp,
            quiet=True,
            max_threads=THREADS,
            app_kwargs={"middleware": middleware, "lifespan": visitors.forgetting},
            auth=[*logins] or None,
            prevent_thread_lock=True,
        )
    except OSError:  # gradio's message names settings of its own
        raise InputError(f"port {port} of {host} is taken or not allowed; choose another with --port") from None
    if page.mcp_error:
        page.close()
        raise InputError(page.mcp_error)
    if block:
        print(f"waveletgpt is open on {page.local_url} (Ctrl-C ends it)", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            Event().wait()
        page.close(verbose=False)  # which deletes the temporary files
    return page
