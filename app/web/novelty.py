"""The instrument that compares results with the training data."""

from collections.abc import Iterator
from typing import Any

from waveletgpt.app.instruments.novelty import Novelty, find_index, novelty
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Result
from waveletgpt.app.web.display import Changes
from waveletgpt.app.web.handlers import Handlers
from waveletgpt.app.web.markup import escape
from waveletgpt.app.web.session import Session
from waveletgpt.common.errors import InputError

LONGEST = 300
"""Characters of a shared text that are shown."""


class NoveltyHandlers:
    """The handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.modality, self.parts = handlers, handlers.modality, handlers.tab.novelty

    def choose(self, session: Session, wanted: bool) -> Iterator[Changes]:
        """Compare, or no longer."""
        session.compared = wanted is True
        if not session.compared:
            yield {self.parts.view: ""}
        yield from self.follow(session)

    def follow(self, session: Session) -> Iterator[Changes]:
        """Compare the present results, if that is wanted."""
        if not session.compared:
            return
        lines, directory = [], self.handlers.library.directory
        for name, result in zip("AB", session.results, strict=True):
            if result and result.completion.written:
                try:
                    index = find_index(result.loaded, directory)
                    lines.append(
                        told(name, result, novelty(index, result.loaded, result.completion.new), self.modality)
                    )
                except InputError as error:
                    lines.append(f"<p>{name}: {escape(str(error))}</p>")
        yield {self.parts.view: f'<div class="novelty">{"".join(lines)}</div>'}


def told(name: str, result: Result, found: Novelty, modality: AppModality[Any]) -> str:
    """How new a card's result is, in words."""
    text = ""
    if found.shared and modality.is_printed:
        shared = result.loaded.tokenizer.decode(result.completion.new[found.begin : found.end])
        text = f": <q>{escape(shared[:LONGEST])}</q>"
    return f"<p><b>{name}</b>: {escape(found.shared_in_words)}{text}. {found.verdict}</p>"
