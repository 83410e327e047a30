"""What happens when a tab's buttons are pressed or its endpoint is called.

Each handler returns, or yields again and again, the components that change, with their new values.
"""

import math
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Result, Results, can_cross_score, cross_score, generate_results, stopped
from waveletgpt.app.streaming import is_ready
from waveletgpt.app.web.components import Column, TabComponents
from waveletgpt.app.web.inputs import ENDPOINT_SIGNATURE, Inputs
from waveletgpt.app.web.markup import agreement, card, metrics, note
from waveletgpt.app.web.player import finished, growing
from waveletgpt.common.errors import InputError

Changes = dict[Any, Any]
"""New values by component. Components that are not in it stay as they are."""


@dataclass
class Generation:
    """One press of Generate. The session keeps it, so that Stop and `score` find it."""

    stopping: bool = False
    """Whether Stop was pressed."""
    results: Results = field(default_factory=list)


class Handlers:
    """The handlers of one modality's tab."""

    def __init__(self, modality: AppModality[Any], entries: Sequence[CheckpointEntry], tab: TabComponents) -> None:
        self.modality, self.tab = modality, tab
        self.entries = {entry.name: entry for entry in entries}

    def card(self, name: str | None) -> str:
        """The line about a checkpoint."""
        return card(self.entries.get(name or ""), self.modality)

    def begin(self) -> Changes:
        """Answer a press of Generate at once. The page cancels the run before it and starts `generate`."""
        return {self.tab.generation: Generation(), self.tab.status: note("Waiting for a turn ...")}

    def stop(self, generation: Generation | None) -> None:
        """Let `generate` end with what there is. It alone writes the status: two writers could arrive out of order."""
        if generation is not None:
            generation.stopping = True

    def generate(self, generation: Generation, *inputs: Any) -> Iterator[Changes]:
        """Run both models, and show their results as they grow, then with files to play and to download."""
        begun = time.monotonic()
        if not is_ready():
            yield {self.tab.status: note("Preparing the engine, which takes a while the first time ...")}
        try:
            yield from self._grow(generation, inputs)
        except InputError as error:
            yield {self.tab.status: note(str(error), wrong=True)}
            return
        except Exception:
            columns = self._growing(generation.results, redraw=True) if generation.results else {}
            yield {self.tab.status: note("Something went wrong in the app; its log tells what.", wrong=True), **columns}
            raise
        complete = all(result.completion.done for result in generation.results if result)
        if not complete:
            yield {self.tab.status: note("Stopping ...")}
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the files before it asks for more
            columns = self._finished(generation.results, Path(folder))
            seconds = time.monotonic() - begun  # writing the files included
            message = f"Done in {seconds:.1f} s." if complete else "Stopped."
            yield {self.tab.status: note(message), **columns}

    def score(self, generation: Generation) -> Iterator[Changes]:
        """Show the metrics again, now with each model's loss on what the other wrote."""
        lines = [column.metrics for column in self.tab.columns]
        changes = unchanged = dict.fromkeys(lines, gr.skip())
        for scored in cross_score(generation.results):
            yield unchanged  # a new press can cancel it here
            changes = {line: metrics(one, self.modality) for line, one in zip(lines, scored, strict=True) if one}
        yield changes  # in any case: gradio empties the outputs of a generator that yields nothing

    def answer(self, *inputs: Any) -> Iterator[Changes]:
        """Run both models for the endpoint, which returns files and facts of both as they grow.

        Files come only at the end unless the modality's are heard early. The last answer has each model's loss on
        what the other wrote.
        """
        answered = -math.inf
        results: Results = []
        try:
            for results in generate_results(self.modality, self.entries, Inputs(*inputs).request(self.modality)):
                if _all_begun(results) and time.monotonic() - answered >= self.modality.refresh:
                    with tempfile.TemporaryDirectory() as folder:
                        yield self._answers(results, Path(folder) if self.modality.heard_early else None)
                    answered = time.monotonic()
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        with tempfile.TemporaryDirectory() as folder:
            yield self._answers(results, Path(folder))
            if scored := deque(cross_score(results), maxlen=1):
                yield self._answers(scored[0], Path(folder))

    # gradio takes the endpoint's argument names from here, and their defaults from the page's inputs.
    answer.__signature__ = ENDPOINT_SIGNATURE  # type: ignore[attr-defined]

    def _grow(self, generation: Generation, inputs: Sequence[Any]) -> Iterator[Changes]:
        """Run both models and show their results; `generation` gets the last of them."""
        drawn = -math.inf
        try:
            for results in generate_results(self.modality, self.entries, Inputs(*inputs).request(self.modality)):
                generation.results = results
                redraw = time.monotonic() - drawn >= self.modality.refresh
                yield {self.tab.status: note(_progress(results)), **self._growing(results, redraw=redraw)}
                if redraw and _all_begun(results):  # empty views are cheap, and the first tokens show at once
                    drawn = time.monotonic()
                if generation.stopping:
                    break
        finally:
            generation.results = stopped(generation.results)

    def _growing(self, results: Results, *, redraw: bool) -> Changes:
        """Both columns during generation. `redraw` says whether to draw the views and fill the players again."""
        changes: Changes = {self.tab.agreement: agreement(results, self.modality)}
        for column, result in zip(self.tab.columns, results, strict=True):
            changes |= self._text(column, result, redraw=redraw)
            changes |= dict.fromkeys(column.downloads.values(), gr.update(interactive=False))
            if column.player and (redraw or not self.modality.heard_early):
                changes[column.player] = self._clip(result)
        return changes

    def _finished(self, results: Results, folder: Path) -> Changes:
        """Both columns after generation, with files to play and to download, which are written to `folder`."""
        changes = self._growing(results, redraw=True)
        scoring = can_cross_score(results)
        for column, result in zip(self.tab.columns, results, strict=True):
            if result and result.completion.written:
                changes[column.metrics] = metrics(result, self.modality, scoring=scoring)
                for suffix, path in self._files(result, folder).items():
                    changes[column.downloads[suffix]] = gr.update(value=path, interactive=True)
                    if column.player and suffix == ".wav":
                        changes[column.player] = finished(path)
        return changes

    def _text(self, column: Column, result: Result | None, *, redraw: bool) -> Changes:
        """A column's metrics and, if `redraw`, its view."""
        if result is None:
            return {column.view: "", column.metrics: ""}
        changes: Changes = {column.metrics: metrics(result, self.modality)}
        if redraw:
            changes[column.view] = self.modality.view(result.completion, result.loaded.tokenizer, result.shared)
        return changes

    def _clip(self, result: Result | None) -> Any:
        """The player's value during generation; None if there is nothing to play yet."""
        if result is None or not self.modality.heard_early or not result.completion.written:
            return None
        clip = self.modality.clip(result.completion, result.loaded.tokenizer)
        return growing(clip.samples, clip.sample_rate)

    def _answers(self, results: Results, folder: Path | None) -> Changes:
        """The endpoint's outputs: files, which are written to `folder` unless it is None, and facts."""
        changes: Changes = {}
        for answer, result in zip(self.tab.answers, results, strict=True):
            files = self._files(result, folder) if result and folder else {}
            changes |= {component: files.get(suffix) for suffix, component in answer.files.items()}
            changes[answer.facts] = result and result.facts(self.modality)
        return changes

    def _files(self, result: Result, folder: Path) -> dict[str, str]:
        """Write the result in every format of the modality; paths by suffix."""
        stem = f"{result.name.replace('/', '-')}-seed{result.seed}"
        paths = {suffix: folder / f"{stem}{suffix}" for suffix in self.modality.files}
        for path in paths.values():
            self.modality.write(result.completion, result.loaded.tokenizer, path)
        return {suffix: str(path) for suffix, path in paths.items()}


def _all_begun(results: Results) -> bool:
    return all(result.completion.written for result in results if result)


def _progress(results: Results) -> str:
    """How much time is left: that of the slower model, since both run at the same time."""
    if not _all_begun(results):
        return "Reading the prompt ..."
    completions = [result.completion for result in results if result]
    if all(completion.done for completion in completions):
        return "Preparing what to play and to download ..."
    return f"Writing ... {max(completion.seconds_left for completion in completions):.0f} s left."
