"""What happens when a tab's buttons are pressed or its endpoint is called: values in, values for components out.

A column's values come in the order view, figures, player (where there is sound), downloads. Only `run` writes to
the columns; the buttons tell it to end by way of a `Press`.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.checkpoints import Listed
from waveletgpt.app.inputs import Inputs
from waveletgpt.app.markup import card, figures, note
from waveletgpt.app.modality import Modality
from waveletgpt.app.results import Result, Results, results
from waveletgpt.common.errors import InputError

ROLES = ("baseline", "wavelet")


@dataclass
class Press:
    """One press of Generate, kept with the session so that later presses of a button reach what it began."""

    stopped: bool = False
    superseded: bool = False
    ended: bool = False


class Handlers:
    """The handlers of one modality's tab."""

    def __init__(self, modality: Modality[Any], listed: Mapping[str, Listed]) -> None:
        self.modality, self.listed = modality, listed

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
        """Generate, when its turn has come: a note, and the columns as they fill; files at the end."""
        begun, drawn = time.monotonic(), -math.inf
        made: Results = []
        try:
            for made in results(self.modality, self.listed, Inputs(*inputs).request(self.modality)):
                if press.superseded:
                    return
                redraw = time.monotonic() - drawn >= self.modality.refresh
                yield [note(_progress(made)), *(v for one in made for v in self._growing(one, redraw))]
                drawn = time.monotonic() if redraw else drawn
                if press.stopped:
                    break
        except InputError as error:
            press.ended = True
            yield [note(str(error), wrong=True), *self._untouched()]
            return
        press.ended = True
        message = "Stopped." if press.stopped else f"Done in {time.monotonic() - begun:.1f} s."
        with tempfile.TemporaryDirectory() as folder:  # gradio copies what it serves before it comes back here
            yield [note(message), *(v for one in made for v in self._finished(one, Path(folder)))]

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
    ) -> Iterator[list[Any]]:
        """The endpoint: for each column the files, made at the end, and the figures, as they change.

        Its arguments are `Inputs`; gradio reads their names here, takes the defaults from the page where it has
        some, and None elsewhere.
        """
        no_files = [None for _ in self.modality.files]
        made: Results = []
        try:
            inputs = Inputs(prompt, baseline, wavelet, length, temperature, top_k, top_p, min_p, seed, keep)
            for made in results(self.modality, self.listed, inputs.request(self.modality)):
                yield [value for one in made for value in (*no_files, one and one.facts(self.modality))]
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        with tempfile.TemporaryDirectory() as folder:
            yield [
                value
                for one in made
                for value in (
                    *(self._files(one, Path(folder)) if one else no_files),
                    one and one.facts(self.modality),
                )
            ]

    def _growing(self, result: Result | None, redraw: bool) -> list[Any]:
        """A column while it is being filled: what was there to play and to download is gone."""
        view, line = self._view(result, redraw)
        player = [gr.Audio(None, visible=False)] if ".wav" in self.modality.files else []
        downloads = [gr.DownloadButton(interactive=False) for _ in self.modality.files]
        return [view, line, *player, *downloads]

    def _finished(self, result: Result | None, folder: Path) -> list[Any]:
        """A column with what can be played and downloaded."""
        if result is None or not result.take.written:
            return self._growing(result, redraw=True)
        files = self._files(result, folder)
        player = [gr.Audio(path, visible=True) for path in files if path.endswith(".wav")]
        downloads = [gr.DownloadButton(value=path, interactive=True) for path in files]
        return [*self._view(result, redraw=True), *player, *downloads]

    def _view(self, result: Result | None, redraw: bool) -> list[Any]:
        """The view, which takes time to draw, and the line of figures."""
        if result is None:
            return ["", ""]
        view = self.modality.view(result.take, result.loaded.tokenizer) if redraw else gr.skip()
        return [view, figures(result.take, self.modality)]

    def _untouched(self) -> list[Any]:
        """Both columns as they are."""
        player = ["player"] if ".wav" in self.modality.files else []
        return [gr.skip() for _ in ROLES for _ in ("view", "figures", *player, *self.modality.files)]

    def _files(self, result: Result, folder: Path) -> list[str]:
        """The result in every format of the modality, named after checkpoint and seed."""
        stem = f"{result.name.replace('/', '-')}-seed{result.seed}"
        paths = [folder / f"{stem}{suffix}" for suffix in self.modality.files]
        for path in paths:
            self.modality.write(result.take, result.loaded.tokenizer, path)
        return [str(path) for path in paths]


def _progress(made: Results) -> str:
    """How long it will still take: the models take turns, so their times add up."""
    takes = [one.take for one in made if one]
    if not all(take.written for take in takes):
        return "Reading the prompt ..."
    if all(take.done for take in takes):
        return "Preparing what to play and to download ..."
    left = sum(take.seconds_left for take in takes)
    return f"Writing ... {left:.0f} s left."
