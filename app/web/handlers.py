"""What happens when a tab's buttons are pressed or its endpoint is called: values in, values for components out.

What is shown is a note, how far the columns agree, and the columns, each in the order view, figures, player (where
there is sound), downloads. Only `run` and, after it, `judge` write there; the buttons tell them to end by way of a
`Press`.
"""

import math
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.engine import is_ready
from waveletgpt.app.modalities.base import Modality
from waveletgpt.app.mutual import can_judge, judged
from waveletgpt.app.results import Result, Results, results
from waveletgpt.app.web.inputs import Inputs
from waveletgpt.app.web.markup import agreement, card, figures, note
from waveletgpt.app.web.player import finished, growing
from waveletgpt.common.errors import InputError

ROLES = ("baseline", "wavelet")


@dataclass
class Press:
    """One press of Generate, kept with the session so that later presses of a button reach what it began."""

    stopped: bool = False
    superseded: bool = False
    ended: bool = False
    made: Results = field(default_factory=list)
    """In the end."""


class Handlers:
    """The handlers of one modality's tab."""

    def __init__(self, modality: Modality[Any], listed: Mapping[str, CheckpointEntry]) -> None:
        self.modality, self.listed = modality, listed
        self.has_player = ".wav" in modality.files

    def card(self, name: str | None) -> str:
        """The line about a checkpoint."""
        return card(self.listed.get(name or ""), self.modality)

    def begin(self, before: Press | None) -> list[Any]:
        """Generate, at once: a new press, which ends what the one before it began, and a note."""
        if before is not None:
            before.superseded = True
        return [Press(), note("Waiting for a turn ...")]

    def stop(self, press: Press | None) -> Any:
        """Stop: `run` ends with what there is."""
        if press is None or press.ended:
            return gr.skip()
        press.stopped = True
        return note("Stopping ...")

    def run(self, press: Press, *inputs: Any) -> Iterator[list[Any]]:
        """Generate, when its turn has come: everything shown, as it grows; files at the end."""
        begun, drawn = time.monotonic(), -math.inf
        made: Results = []
        if not is_ready():
            yield [note("Preparing the engine, which takes a while the first time ..."), *self._untouched()]
        try:
            for made in results(self.modality, self.listed, Inputs(*inputs).request(self.modality)):
                if press.superseded:
                    return
                redraw = time.monotonic() - drawn >= self.modality.refresh
                columns = (v for one in made for v in self._growing(one, redraw))
                yield [note(_progress(made)), agreement(made, self.modality), *columns]
                if redraw and _all_begun(made):  # until then an empty view costs nothing, and the first is soon seen
                    drawn = time.monotonic()
                if press.stopped:
                    break
        except InputError as error:
            press.ended = True
            yield [note(str(error), wrong=True), *self._untouched()]
            return
        except Exception:
            press.ended = True
            yield [note("Something went wrong in the app; its log tells what.", wrong=True), *self._untouched()]
            raise
        press.ended, press.made = True, made
        message = "Stopped." if press.stopped else f"Done in {time.monotonic() - begun:.1f} s."
        with tempfile.TemporaryDirectory() as folder:  # gradio copies what it serves before it comes back here
            columns = (v for one in made for v in self._finished(one, Path(folder), scoring=can_judge(made)))
            yield [note(message), agreement(made, self.modality), *columns]

    def judge(self, press: Press | None) -> Iterator[list[Any]]:
        """After `run`: the columns' figures again, with what each model thinks of what the other wrote."""
        if press is None:
            return
        scored: Results = []
        for so_far in judged(press.made):
            if press.superseded:
                return
            scored = so_far
        if scored:
            yield [figures(one, self.modality) if one else "" for one in scored]

    def answer(  # noqa: PLR0917, gradio calls it by position
        self,
        prompt: Any = None,
        baseline: Any = None,
        wavelet: Any = None,
        length: Any = None,
        temperature: Any = None,
        top_k: Any = None,
        top_p: Any = None,
        min_p: Any = None,
        seed: Any = None,
        keep: Any = None,
        repetition_penalty: Any = None,
    ) -> Iterator[list[Any]]:
        """The endpoint: for each column the files and the figures, as they grow.

        Where a result cannot be heard early its files come at the end; last comes what each model thinks of the
        other's. The arguments are `Inputs`; gradio reads their names here, takes the defaults from the page where
        it has some, and None elsewhere.
        """
        inputs = Inputs(
            prompt, baseline, wavelet, length, temperature, top_k, top_p, min_p, seed, keep, repetition_penalty
        )
        answered = -math.inf
        made: Results = []
        try:
            for made in results(self.modality, self.listed, inputs.request(self.modality)):
                if _all_begun(made) and time.monotonic() - answered >= self.modality.refresh:
                    with tempfile.TemporaryDirectory() as folder:
                        yield self._answers(made, Path(folder) if self.modality.heard_early else None)
                    answered = time.monotonic()
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        with tempfile.TemporaryDirectory() as folder:
            yield self._answers(made, Path(folder))
            scored = deque(judged(made), maxlen=1)
            if scored:
                yield self._answers(scored[0], Path(folder))

    def _answers(self, made: Results, folder: Path | None) -> list[Any]:
        """For each column its files, written to `folder` if there is one, and its figures."""
        values: list[Any] = []
        for one in made:
            values += self._files(one, folder) if one and folder else [None for _ in self.modality.files]
            values.append(one and one.facts(self.modality))
        return values

    def _growing(self, result: Result | None, redraw: bool) -> list[Any]:
        """A column while it is being filled: what was there to play and to download is gone."""
        downloads = [gr.DownloadButton(interactive=False) for _ in self.modality.files]
        return [*self._view(result, redraw), *self._sound(result, redraw), *downloads]

    def _sound(self, result: Result | None, redraw: bool) -> list[Any]:
        """The value of the player, if the column has one, while the column is being filled."""
        if not self.has_player:
            return []
        if result is None or not self.modality.heard_early:
            return [None]
        if not redraw:
            return [gr.skip()]
        clip = self.modality.clip(result.completion, result.loaded.tokenizer)
        return [growing(clip.samples, clip.sample_rate) if result.completion.written else None]

    def _finished(self, result: Result | None, folder: Path, *, scoring: bool) -> list[Any]:
        """A column with what can be played and downloaded."""
        if result is None or not result.completion.written:
            return self._growing(result, redraw=True)
        files = self._files(result, folder)
        sound = [finished(path) for path in files if path.endswith(".wav")]
        downloads = [gr.DownloadButton(value=path, interactive=True) for path in files]
        return [*self._view(result, redraw=True, scoring=scoring), *sound, *downloads]

    def _view(self, result: Result | None, redraw: bool, *, scoring: bool = False) -> list[Any]:
        """The view, which takes time to draw, and the line of figures."""
        if result is None:
            return ["", ""]
        view = self.modality.view(result.completion, result.loaded.tokenizer, result.shared) if redraw else gr.skip()
        return [view, figures(result, self.modality, scoring=scoring)]

    def _untouched(self) -> list[Any]:
        """How far the columns agree, and both of them, as they are."""
        player = ["player"] if self.has_player else []
        return [gr.skip(), *(gr.skip() for _ in ROLES for _ in ("view", "figures", *player, *self.modality.files))]

    def _files(self, result: Result, folder: Path) -> list[str]:
        """The result in every format of the modality, named after checkpoint and seed."""
        stem = f"{result.name.replace('/', '-')}-seed{result.seed}"
        paths = [folder / f"{stem}{suffix}" for suffix in self.modality.files]
        for path in paths:
            self.modality.write(result.completion, result.loaded.tokenizer, path)
        return [str(path) for path in paths]


def _all_begun(made: Results) -> bool:
    return all(one.completion.written for one in made if one)


def _progress(made: Results) -> str:
    """How long it will still completion: the models write at the same time."""
    if not _all_begun(made):
        return "Reading the prompt ..."
    completions = [one.completion for one in made if one]
    if all(completion.done for completion in completions):
        return "Preparing what to play and to download ..."
    return f"Writing ... {max(completion.seconds_left for completion in completions):.0f} s left."
