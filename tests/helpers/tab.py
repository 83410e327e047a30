"""A tab of the page without a browser: its handlers, and what they show one visitor."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.results import Result
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.web.inputs import Settings
from waveletgpt.app.web.session import Session
from waveletgpt.app.web.tab import build_tab

WORDS = 11
"""Length of the results of text: 61 characters."""
SETTINGS = Settings(WORDS, 1, 0, 1, True, 100, 0, 1, 0, 1)
SECONDS = {"length": 0.1, "keep": 1}
NOTES = {"length": 20, "keep": 100}


class Tab:
    """A tab and a visitor, who has pressed nothing yet."""

    def __init__(self, name: str, directory: Path, names: tuple[str | None, str | None] | None = None) -> None:
        with gr.Blocks():
            self.handlers = build_tab(load_modality(name), Library(directory, name), gr.BrowserState([]), Visitors())
        self.tab, self.session = self.handlers.tab, Session()
        self.names = names or (f"{name}-baseline", f"{name}-haar")
        self.history: Any = []
        self.shown: dict[Any, Any] = {}

    def run(self) -> Iterator[dict[Any, Any]]:
        """The work after a press; what it shows is remembered."""
        for changes in self.handlers.run(self.session, self.history):
            self.shown |= changes
            self.history = changes.get(self.tab.history, self.history)
            yield changes

    def finish(self, changes: dict[Any, Any]) -> str:
        """Show what a press answers, do its work, and return the status."""
        self.shown |= changes
        list(self.run())
        return self.status

    def ask(self, prompt: Any = "a", example: str = "", until: float = 0, **settings: Any) -> dict[Any, Any]:
        """Press Generate."""
        inputs = [*self.names, *SETTINGS._replace(**settings)]
        return self.handlers.press(self.session, prompt, example, until, *inputs)

    @property
    def status(self) -> str:
        """The line under the buttons."""
        return unescape(self.shown[self.tab.status])

    @property
    def results(self) -> list[Result]:
        """The results on both cards."""
        return [result for result in self.session.results if result]

    def ids(self) -> list[list[int]]:
        """The ids on both cards."""
        return [result.completion.ids.tolist() for result in self.results]


def begun(tab: Tab) -> Iterator[dict[Any, Any]]:
    """The work after a press, until both cards have some tokens."""
    running = tab.run()
    while not all(one.completion.new.numel() > 5 for one in tab.results) or len(tab.results) < 2:
        next(running)
    return running
