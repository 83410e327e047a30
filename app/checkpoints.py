"""The checkpoints in a directory: listed by what they say of themselves, loaded when they are asked for."""

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
"""Beside this folder, in the source tree and where the package is installed."""


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint on offer."""

    name: str
    """Its path within the directory that was searched."""
    path: Path
    info: CheckpointInfo

    @property
    def is_baseline(self) -> bool:
        """Whether nothing sits between its blocks."""
        return self.info.model.mixer == "none"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint ready to generate."""

    model: GPT
    tokenizer: Tokenizer
    info: CheckpointInfo


def find_checkpoints(directory: Path) -> list[CheckpointEntry]:
    """The checkpoints in `directory` and up to three folders below it (runs hold `best` and `last`), by name.

    Damaged ones are left out, with a warning. Raises InputError if there is no such directory.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; give one that holds checkpoints")
    found = []
    patterns = ("", "*/", "*/*/", "*/*/*/")
    for path in sorted(config.parent for p in patterns for config in directory.glob(f"{p}config.json")):
        name = path.relative_to(directory).as_posix() if path != directory else directory.resolve().name
        if any(part.startswith(".") for part in name.split("/")):  # being written
            continue
        try:
            found.append(CheckpointEntry(name, path, read_info(path)))
        except InputError as error:
            logging.getLogger(__name__).warning("warning: left out a damaged checkpoint: %s", error)
    return found


def load(directory: Path, modality: str, tokenizer_kind: str) -> LoadedCheckpoint:
    """Load a checkpoint, once for as long as its files do not change.

    Raises InputError if it is missing, damaged, not of `modality`, or its tokenizer is none of `tokenizer_kind`
    with the model's vocabulary.
    """
    files = (directory / "config.json", directory / "model.safetensors")
    times = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in files)
    return _load(directory, modality, tokenizer_kind, times)


@lru_cache(maxsize=8)
def _load(directory: Path, modality: str, tokenizer_kind: str, _times: tuple[int, ...]) -> LoadedCheckpoint:
    checkpoint = load_checkpoint(directory, modality=modality)
    config = directory / "config.json"
    try:
        tokenizer = tokenizer_from_dict(checkpoint.info.tokenizer)
    except InputError as error:
        raise InputError(f"{config}: {error}") from None
    if tokenizer.kind != tokenizer_kind:
        raise InputError(f"{config}: {modality} needs a {tokenizer_kind} tokenizer, not {tokenizer.kind}")
    vocab_size = checkpoint.info.model.vocab_size
    if tokenizer.vocab_size != vocab_size:
        raise InputError(
            f"{config}: the tokenizer has {tokenizer.vocab_size} ids and the model {vocab_size}; they must be equal"
        )
    return LoadedCheckpoint(checkpoint.model, tokenizer, checkpoint.info)
