"""What a tab answers at once, without work: examples, the passage of a file, what there is to choose from."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import Library, LoadedCheckpoint
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.results import load_named
from waveletgpt.app.streaming import Completion
from waveletgpt.app.web.display import shown_if
from waveletgpt.app.web.history import made_in
from waveletgpt.app.web.inputs import source_of
from waveletgpt.app.web.markup import about, note
from waveletgpt.common.errors import InputError, renamed


class Answers:
    """The handlers of one modality's tab that answer at once."""

    def __init__(self, modality: AppModality[Any], library: Library) -> None:
        self.modality, self.library = modality, library

    def listed(self, history: list[dict[str, Any]] | None) -> Any:
        """The history as buttons."""
        mine = made_in(self.modality, history)
        return gr.Dataset(samples=[[one["title"]] for one in mine], visible=shown_if(bool(mine)))

    def take_example(self, index: int) -> Iterator[tuple[Any, str, float]]:
        """Put a ready-made prompt into the prompt's place."""
        example = self.modality.examples()[index]
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the file before it asks for more
            value = self.modality.example_file(example.name, Path(folder))
            yield (value, "", 0) if isinstance(value, str) else (str(value), example.name, 0)

    def new_passage(self, prompt: Any, example: str, name: str | None, keep: float) -> Iterator[Any]:
        """Show the end of a new file, from which the models go on."""
        yield from self.passage(prompt, example, 0, name, keep)

    def passage(self, prompt: Any, example: str, until: float, name: str | None, keep: float) -> Iterator[Any]:
        """Show the part of a file that becomes the prompt, and let it be heard."""
        hidden = gr.update(visible=False)
        if prompt is None or name is None:
            yield gr.update(visible=False, value=0), hidden, gr.update(visible=False, value=None)
            return
        try:
            loaded = load_named(self.modality, self.library.entries(), name)
            whole = self.prompt_of(prompt, example, 0, math.inf, loaded)
            part = self.prompt_of(prompt, example, until, keep, loaded)
        except InputError as error:
            yield hidden, gr.update(visible=True, value=note(str(error), wrong=True)), hidden
            return
        if whole is None or part is None:
            return
        seconds = self.modality.seconds(whole, loaded.tokenizer)
        until = min(until or seconds, seconds)
        shown = Completion(part.ids, len(part.ids), 0)
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the file before it asks for more
            path = Path(folder) / "prompt.wav"
            self.modality.write(shown, loaded.tokenizer, path)
            tenths = math.ceil(10 * seconds) / 10  # not below the end, so that all of the file can be chosen
            slider = gr.update(visible=True, maximum=tenths, value=min(tenths, math.ceil(10 * until) / 10))
            view = self.modality.view(shown, loaded.tokenizer)
            yield slider, gr.update(visible=True, value=view), gr.update(visible=True, value=str(path))

    def chosen(self, name: str | None) -> str:
        """The line about a checkpoint."""
        return about(self.library.entries().get(name or ""), self.modality)

    def choices(self, name: str | None) -> Any:
        """The checkpoints that can be chosen, with those that appeared since."""
        names = [*self.library.entries()]
        return gr.update(choices=names, value=name if name in names else None)

    def prompt_of(self, value: Any, example: str, until: float, keep: float, loaded: LoadedCheckpoint) -> Prompt | None:
        """The end of the prompt, for a checkpoint. Raises InputError, in which a file has the name that people know."""
        source = source_of(self.modality, value)
        with renamed(source, source.name) if isinstance(source, Path) else nullcontext():
            return self.modality.kept_prompt(source, keep, loaded.tokenizer, example, until or None)
