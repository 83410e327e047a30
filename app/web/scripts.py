"""The page's own JavaScript, in files of its own under static/."""

from functools import cache
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"


@cache
def script(name: str) -> str:
    """The text of a script."""
    return (STATIC / name).read_text(encoding="utf-8")


def address() -> gr.HTML:
    """Puts its value, a recipe, into the page's address, and copies that address when its button is pressed."""
    return gr.HTML("", html_template=script("address.html"), js_on_load=script("address.js"), min_width=140)
