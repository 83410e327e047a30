"""The page: a tab for each modality, with the checkpoints of one directory, and a tab of comparisons."""

from pathlib import Path
from threading import Thread

import gradio as gr
import torch

from waveletgpt.app.checkpoints import find_checkpoints
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.streaming import make_ready
from waveletgpt.app.web.markup import ABOUT, no_checkpoints
from waveletgpt.app.web.reports import SHIPPED_REPORTS, build_comparisons
from waveletgpt.app.web.style import CSS, THEME
from waveletgpt.app.web.tab import build_tab
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES

LARGEST_UPLOAD = "50mb"
CLEANING = (600, 3600)  # every 600 s, delete files that are older than 3600 s
WAITING = 16  # largest number of requests in the queue


def build_page(directory: Path, results: Path = SHIPPED_REPORTS) -> gr.Blocks:
    """Build the page.

    Args:
        directory: its checkpoints, of all modalities.
        results: its reports of comparisons.

    Raises:
        InputError: one of the directories does not exist.
    """
    found = find_checkpoints(directory)
    with gr.Blocks(title="waveletgpt", fill_width=True, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(ABOUT)
        with gr.Tabs():
            for name in MODALITIES:
                entries = [entry for entry in found if entry.info.modality == name]
                with gr.Tab(name.capitalize(), id=name, elem_id=f"{name}-tab"):
                    if entries:
                        build_tab(load_modality(name), entries)
                    else:
                        gr.HTML(no_checkpoints(name, str(directory)))
            with gr.Tab("Compare", id="compare", elem_id="compare-tab"):
                build_comparisons(results)
    return page


def open_page(
    directory: Path, host: str, port: int, *, results: Path = SHIPPED_REPORTS, block: bool = True
) -> gr.Blocks:
    """Serve the page on http://host:port.

    Args:
        directory: its checkpoints, of all modalities.
        host: address to serve it on.
        port: port to serve it on.
        results: its reports of comparisons.
        block: whether to return only when interrupted.

    Raises:
        InputError: one of the directories does not exist, or the port cannot be used.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"--port is {port}; it must be from 1 to 65535")
    torch.set_num_threads(1)  # a token is too little work to split: more threads are slower
    page = build_page(directory, results)
    page.queue(max_size=WAITING)
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
            max_file_size=LARGEST_UPLOAD,
            show_error=True,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError:  # gradio's message names settings of its own
        raise InputError(f"port {port} of {host} is taken or not allowed; choose another with --port") from None
    if block:
        print(f"waveletgpt is open on {page.local_url} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return page
