"""The instrument that looks closer at results: what surprised the models, and what else might have been written."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from waveletgpt.app.instruments.alternatives import Alternative, alternatives, branched_at
from waveletgpt.app.results import Results, same_tokens
from waveletgpt.app.web.display import Changes
from waveletgpt.app.web.handlers import Handlers
from waveletgpt.app.web.instruments import MODES
from waveletgpt.app.web.markup import note
from waveletgpt.app.web.session import Session
from waveletgpt.app.web.surprise import table
from waveletgpt.common.errors import InputError


class Looking:
    """The handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.modality, self.display = handlers, handlers.modality, handlers.display
        self.parts = handlers.tab.looking

    def follow(self, session: Session) -> Iterator[Changes]:
        """Mark new results once they are scored."""
        if session.marking:
            yield self.display.surprise(session)

    def mark(self, session: Session, mode: str) -> Iterator[Changes]:
        """Mark the results by another model's surprise, or no longer."""
        session.marking = mode if mode in {value for _, value in MODES} else ""
        yield self.display.marked(session)

    def look(self, session: Session, selected: gr.EventData) -> Iterator[Changes]:
        """Show what might have been written in a place."""
        try:
            card, index = self._place(session, selected.value)
            yield {self.parts.choices: table(session, self.modality, card, index, _found(session, card, index))}
        except InputError as error:
            yield {self.parts.choices: note(str(error), wrong=True)}

    def choose(self, session: Session, selected: gr.EventData) -> None:
        """Remember the token that `branch` shall go on from."""
        session.looked = selected.value

    def branch(self, session: Session) -> Changes:
        """Let a card go on from another token."""
        value = session.looked

        def results() -> Results:
            card, index = self._place(session, value)
            found = list(session.results)
            result, token = found[card], value.get("id")
            if result is None or not isinstance(token, int) or not 0 <= token < result.loaded.info.model.vocab_size:
                raise InputError("the model does not know what to go on from; choose one of the alternatives")
            found[card] = branched_at(self.modality, result, index, token)
            return found

        return self.handlers.want(session, results)

    def _place(self, session: Session, value: Any) -> tuple[int, int]:
        """The card and the index of the new token that the page names. Raises InputError if there is none."""
        card = value.get("card") if isinstance(value, dict) else None
        if card not in {0, 1} or not (result := session.results[card := int(card)]):
            raise InputError("there is no result on this card; generate one first")
        completion, index = result.completion, value.get("token")
        if isinstance(seconds := value.get("seconds"), int | float):
            index = self.modality.token_at(seconds, completion.ids, result.loaded.tokenizer) - completion.prompt_length
        if not isinstance(index, int) or not 0 <= index < completion.written:
            raise InputError(f"the prompt is not what a model wrote; choose one of the new {self.modality.tokens}")
        return card, index


def _found(session: Session, card: int, index: int) -> list[Alternative]:
    """The alternatives in a place."""
    result, other = session.results[card], session.results[1 - card]
    if result is None:
        return []
    alike = other is not None and same_tokens(other.loaded, result.loaded)
    return alternatives(result, other.loaded.model if other and alike else None, index)
