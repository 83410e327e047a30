"""What programs ask about checkpoints: which there are, what they think of a text or a file, what they expect next."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gradio_client.utils import is_file_obj_with_meta
from torch import Tensor

from waveletgpt.app.checkpoints import Library, LoadedCheckpoint
from waveletgpt.app.instruments.alternatives import SHOWN
from waveletgpt.app.instruments.novelty import find_index, novelty
from waveletgpt.app.instruments.scales import even_columns, scalogram
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import load_named
from waveletgpt.app.scoring import PIECE, score_piece
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.web.inputs import left_out, source_of
from waveletgpt.common.errors import InputError, quoted, renamed
from waveletgpt.models.generation import next_probabilities
from waveletgpt.models.muting import levels_of

MOST_SCORED = 1 << 16
"""Tokens that `/score` takes."""


def uploaded(value: Any, name: str) -> Any:
    """The value of an `upload`. Raises InputError unless gradio has checked that it is a file that was uploaded."""
    if not left_out(value) and not is_file_obj_with_meta(value):
        raise InputError(f"{name} is {quoted(value)}; it must be an uploaded file")
    return value


@contextmanager
def reading(modality: AppModality[Any], prompt: Any) -> Iterator[str | Path | None]:
    """The source of a prompt; within the block, an upload is called by its own name in errors."""
    source = source_of(modality, uploaded(prompt, "prompt") if modality.prompt.suffixes else prompt)
    with renamed(source, source.name) if isinstance(source, Path) else nullcontext():
        yield source


class Questions:
    """`/score`, `/alternatives`, `/scales` and `/novelty`."""

    def __init__(
        self, libraries: dict[str, Library], modalities: dict[str, AppModality[Any]], visitors: Visitors
    ) -> None:
        self.libraries, self.modalities, self.visitors = libraries, modalities, visitors

    def score(self, name: Any, text: Any, file: Any) -> dict[str, Any]:
        """Bits of each token of a text or a file under a checkpoint, as `SCORE` describes them."""
        modality, loaded, ids = self._read(name, text, file)
        self._check(modality, name, ids)
        start = loaded.tokenizer.start
        whole, pieces = torch.cat([start, ids]), range(len(start), len(start) + len(ids), PIECE)
        log_probs = []
        (turn,) = self.visitors.scheduler.turns("score", [len(pieces)])
        for piece in turn.slices(score_piece(loaded.model, whole, first) for first in pieces):
            self.visitors.check_reader()
            log_probs.append(piece)
        bits = -torch.cat(log_probs) / math.log(2)
        return {
            "checkpoint": name,
            "tokens": len(ids),
            "bits_per_token": float(bits.mean()),
            "bits": [round(float(one), 4) for one in bits],
        }

    def alternatives(self, name: Any, text: Any, file: Any) -> list[dict[str, Any]]:
        """The likeliest tokens after a text or a file, as `ALTERNATIVE` describes them."""
        modality, loaded, ids = self._read(name, text, file)
        chances = next_probabilities(loaded.model, torch.cat([loaded.tokenizer.start, ids]))
        return [
            {
                "token": token,
                "label": modality.label(token, loaded.tokenizer),
                "probability": round(float(chances[token]), 6),
            }
            for token in chances.argsort(descending=True, stable=True)[:SHOWN].tolist()
        ]

    def scales(self, name: Any, text: Any, file: Any) -> dict[str, Any]:
        """What each level of each wavelet layer holds over a text or a file, as `SCALES` describes it."""
        modality, loaded, ids = self._read(name, text, file)
        self._check(modality, name, ids)
        if not (levels := levels_of(loaded.model)):
            raise InputError(f"{name} has no time scales: its layer is {loaded.info.model.mixer}; choose a wavelet")
        (turn,) = self.visitors.scheduler.turns("score", [1])
        values: list[Any] = []
        for found in turn.slices(scalogram(loaded.model, ids, even_columns(len(ids)))):
            self.visitors.check_reader()
            if found:
                values = found.values.round(4).tolist()
        return {"checkpoint": name, "tokens": len(ids), "windows": [2**level for level in levels], "values": values}

    def novelty(self, name: Any, text: Any, file: Any) -> dict[str, Any]:
        """The longest run that a text or a file shares with a checkpoint's training data, as `NOVELTY` describes it."""
        modality, loaded, ids = self._read(name, text, file)
        self._check(modality, name, ids)
        return {
            "checkpoint": name,
            **asdict(novelty(find_index(loaded, self.libraries[modality.name].directory), loaded, ids)),
        }

    def _read(self, name: Any, text: Any, file: Any) -> tuple[AppModality[Any], LoadedCheckpoint, Tensor]:
        """A checkpoint by its name, and the ids (T,) of what is given; none if nothing is. Raises InputError."""
        entries = {entry.name: entry for library in self.libraries.values() for entry in library.entries().values()}
        if not isinstance(name, str) or name not in entries:
            raise InputError(f"there is no checkpoint {quoted(name)}; /checkpoints lists them")
        self.visitors.wait_for_reader()
        modality = self.modalities[entries[name].info.modality]
        loaded = load_named(modality, entries, name)
        with reading(modality, file if modality.prompt.suffixes else text) as source:
            ids = loaded.tokenizer.start[:0] if source is None else modality.read_prompt(source, loaded.tokenizer).ids
        return modality, loaded, ids

    def _check(self, modality: AppModality[Any], name: str, ids: Tensor) -> None:
        """Raise InputError unless there are some ids, and not too many."""
        if not len(ids):
            raise InputError(f"{name} reads {modality.name}; give {'a file' if modality.prompt.suffixes else 'text'}")
        if len(ids) > MOST_SCORED:
            raise InputError(f"this has {len(ids):,} {modality.tokens}; give {MOST_SCORED:,} at most")


def listed(libraries: dict[str, Library]) -> list[dict[str, Any]]:
    """All checkpoints, as `CHECKPOINT` describes them."""
    return [
        {
            "name": entry.name,
            "modality": entry.info.modality,
            "mixer": entry.info.model.mixer,
            "digest": entry.digest,
            "steps": entry.info.steps,
            "tokens": entry.info.tokens,
            "losses": entry.info.losses,
            "sampling": entry.info.sampling,
        }
        for library in libraries.values()
        for entry in library.entries().values()
    ]
