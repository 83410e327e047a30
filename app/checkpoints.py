"""Find the checkpoints in a directory, and load one when it is needed."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import find_modality
from waveletgpt.models.checkpoint import CheckpointInfo, file_sha256, load_checkpoint, read_info
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
"""The folder beside this one, in the source tree as in the installed package."""
CPU = torch.device("cpu")
LATER = {"site": "stream"}
"""Fields of a model that came after the first recipes, with the values that models had before."""
DEPTH = 5
"""Folders between a directory and its checkpoints. compare.py writes four: runs/haar/lr-0.001-seed-0/best."""


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint that can be chosen."""

    name: str
    """Path relative to the directory that was searched."""
    path: Path
    info: CheckpointInfo
    device: torch.device = CPU
    """Where its model computes once it is loaded."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that tell this checkpoint from all others; empty if its weights cannot be read."""
        try:
            weights = self.info.weights_sha256 or file_sha256(self.path / "model.safetensors")
        except OSError:
            return ""
        return digest(replace(self.info, weights_sha256=weights))

    @property
    def is_baseline(self) -> bool:
        """Whether the model has no mixer between its blocks."""
        return self.info.model.mixer == "none"


@dataclass(frozen=True)
class Library:
    """The checkpoints of one kind of data in a directory, those that appear later included."""

    directory: Path
    modality: str
    device: torch.device = CPU

    def entries(self) -> dict[str, CheckpointEntry]:
        """The checkpoints by name, as they are now. Raises InputError if the directory is gone."""
        found = find_checkpoints(self.directory)
        mine = (replace(entry, device=self.device) for entry in found if entry.info.modality == self.modality)
        return {entry.name: entry for entry in mine}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory, ready to generate."""

    model: GPT
    tokenizer: Tokenizer
    info: CheckpointInfo
    name: str = ""
    """Name on the page."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that tell this checkpoint from all others."""
        return digest(self.info)


def digest(info: CheckpointInfo) -> str:
    """16 hexadecimal digits that tell a checkpoint from all others: of its weights, its model and its tokenizer.

    What recipes of old do not know counts only where it is not as it always was.
    """
    model = {name: value for name, value in asdict(info.model).items() if LATER.get(name) != value}
    parts = [info.weights_sha256, model, info.tokenizer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def find_checkpoints(directory: Path) -> list[CheckpointEntry]:
    """Find the checkpoints in `directory` and up to `DEPTH` folders below it.

    Damaged checkpoints are left out, with a warning.

    Returns:
        The checkpoints, by name. Two of one run are its folders `best` and `last`.

    Raises:
        InputError: there is no such directory.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; give one that holds checkpoints")
    found = []
    configs = (config for depth in range(DEPTH + 1) for config in directory.glob("*/" * depth + "config.json"))
    for path in sorted(config.parent for config in configs):
        name = path.relative_to(directory).as_posix() if path != directory else directory.resolve().name
        if any(part.startswith(".") for part in name.split("/")):  # still being written
            continue
        try:
            found.append(CheckpointEntry(name, path, read_info(path)))
        except InputError as error:
            logging.getLogger(__name__).warning("warning: left out a damaged checkpoint: %s", error)
    return found


def load(directory: Path, modality: str, tokenizer_kind: str, device: torch.device = CPU) -> LoadedCheckpoint:
    """Load a checkpoint, or return the loaded one if its files have not changed since.

    Args:
        directory: the checkpoint.
        modality: kind of data that its model must be for.
        tokenizer_kind: kind that its tokenizer must have.
        device: where its model computes.

    Raises:
        InputError: the checkpoint is missing or damaged, or has another modality, another kind of tokenizer or a
            tokenizer with another vocabulary than its model.
    """
    files = (directory / "config.json", directory / "model.safetensors")
    times = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in files)
    return _cached(directory, modality, tokenizer_kind, device, times)


@lru_cache(maxsize=8)
def _cached(
    directory: Path, modality: str, tokenizer_kind: str, device: torch.device, _times: tuple[int, ...]
) -> LoadedCheckpoint:
    return _load(directory, modality, tokenizer_kind, device)


def load_any(directory: Path, device: torch.device = CPU) -> LoadedCheckpoint:
    """Load a checkpoint of any kind of data, each time anew, so that the model may be changed. Raises InputError."""
    record = find_modality(read_info(directory).modality)
    return _load(directory, record.name, record.tokenizer_kind, device)


def _load(directory: Path, modality: str, tokenizer_kind: str, device: torch.device) -> LoadedCheckpoint:
    checkpoint = load_checkpoint(directory, modality=modality, device=device)
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
    return LoadedCheckpoint(checkpoint.model, tokenizer, checkpoint.info, directory.name)
