"""The page: a tab for each modality, over the checkpoints of one directory, and one of comparisons."""

from pathlib import Path
from threading import Thread

import gradio as gr
import torch

from waveletgpt.app.checkpoints import find_checkpoints
from waveletgpt.app.engine import make_ready
from waveletgpt.app.modalities.registry import MODALITIES, load_modality
from waveletgpt.app.web.markup import ABOUT, no_checkpoints
from waveletgpt.app.web.reports import SHIPPED_REPORTS, build_comparisons
from waveletgpt.app.web.style import CSS, THEME
from waveletgpt.app.web.tab import build_tab
from waveletgpt.common.errors import InputError

LARGEST_UPLOAD = "50mb"
CLEANING = (600, 3600)  # every 10 minutes, remove what was uploaded or made more than an hour ago
WAITING = 16  # requests that may stand in line


def build_page(directory: Path, results: Path = SHIPPED_REPORTS) -> gr.Blocks:
    """The page over the checkpoints in `directory` and the comparisons in `results`.

    Raises InputError if there is no such directory.
    """
    found = find_checkpoints(directory)
    with gr.Blocks(title="waveletgpt", fill_width=True, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(ABOUT)
        with gr.Tabs():
            for name in MODALITIES:
                listed = [one for one in found if one.info.modality == name]
                with gr.Tab(name.capitalize(), id=name, elem_id=f"{name}-tab"):
                    if listed:
                        build_tab(load_modality(name), listed)
                    else:
                        gr.HTML(no_checkpoints(name, str(directory)))
            with gr.Tab("Compare", id="compare", elem_id="compare-tab"):
                build_comparisons(results)
    return page


def open_page(
    directory: Path, host: str, port: int, *, results: Path = SHIPPED_REPORTS, block: bool = True
) -> gr.Blocks:
    """Serve the page on http://host:port, until interrupted if `block`.

    Raises InputError for a directory that is not there, or a port that cannot be had.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"--port is {port}; it must be from 1 to 65535")
    torch.set_num_threads(1)  # a token is too little work to share: more threads only wait for each other
    page = build_page(directory, results)
    page.queue(max_size=WAITING)
    Thread(target=make_ready, daemon=True).start()  # the page opens meanwhile; who generates first waits for it
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
    except OSError:  # gradio's words name settings of its own
        raise InputError(f"port {port} of {host} is taken or not allowed; choose another with --port") from None
    if block:
        print(f"waveletgpt is open on {page.local_url} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return page
