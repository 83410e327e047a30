"""Prepared data: one file of token ids for each split, and a JSON file that describes them.

dataset.json                    modality, tokenizer, source, licence, counts and digests
train.bin, val.bin, test.bin    ids as uint8 or uint16, little endian, memory-mapped when read
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_directory, json_text

FORMAT_VERSION = 1
LARGEST_VOCABULARY = 1 << 16
SPLITS = ("train", "val", "test")
FILES = ("dataset.json", *(f"{split}.bin" for split in SPLITS))
Tokens = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class DatasetInfo:
    """The contents of `dataset.json`."""

    modality: str
    tokenizer: dict[str, Any]
    vocab_size: int
    report: str
    """Unit in which losses are shown, such as "bits per character"."""
    source: str
    licence: str
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each split: number of tokens, number of pieces, sha256 of the token file."""
    origin: str = ""
    """The file, folder, archive or URL that was prepared."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """Files of the source that could not be used: {"file": name, "why": reason}."""
    files: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each split: its files in their order, and the number of tokens of each."""

    def __post_init__(self) -> None:
        if not isinstance(self.vocab_size, int) or not 1 <= self.vocab_size <= LARGEST_VOCABULARY:
            raise InputError(
                f"a vocabulary of {self.vocab_size!r} tokens cannot be stored; {LARGEST_VOCABULARY} is the most"
            )
        for split, facts in self.splits.items():
            if not isinstance(facts["tokens"], int) or not isinstance(facts["sha256"], str):
                raise InputError(f"the split {split} needs a number of tokens and a sha256")
        if not isinstance(self.skipped, list) or not all(isinstance(part, dict) for part in self.files.values()):
            raise InputError("skipped must be a list, and files a number of tokens for each file of each split")

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of the ids in the token files, little endian."""
        return np.dtype("<u1" if self.vocab_size <= 256 else "<u2")


def check_replaceable(directory: Path) -> None:
    """Raise InputError if `write_dataset` would refuse `directory`. To be called before hours of work."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give a directory to write")
    others = sorted({path.name for path in directory.iterdir()} - set(FILES)) if directory.exists() else []
    if others:
        raise InputError(f"{directory} holds {others[0]}, which would be lost; give a new or empty directory")


def write_dataset(
    directory: Path,
    info: DatasetInfo,
    pieces: Mapping[str, Iterable[Tensor | Tokens]],
    advance: Callable[[int], None] = lambda _: None,
) -> DatasetInfo:
    """Write prepared data atomically, in place of those that `directory` holds.

    Args:
        directory: where to write.
        info: the description, without `splits`.
        pieces: for each split, arrays of ids (N,) to write one after another.
        advance: called with the number of tokens just written.

    Returns:
        `info` with `splits`. If `info` names the files of a split, these are counted as its pieces.

    Raises:
        InputError: `directory` holds something other than prepared data.
    """
    splits: dict[str, dict[str, Any]] = {}
    with atomic_directory(directory, FILES) as partial:
        for split in SPLITS:
            digest, tokens, count = hashlib.sha256(), 0, 0
            with (partial / f"{split}.bin").open("wb") as file:
                for ids in pieces[split]:
                    data = np.asarray(ids).astype(info.dtype).tobytes()
                    file.write(data)
                    digest.update(data)
                    tokens, count = tokens + len(ids), count + 1
                    advance(len(ids))
            count = len(info.files[split]) if info.files else count
            splits[split] = {"tokens": tokens, "pieces": count, "sha256": digest.hexdigest()}
        written = replace(info, splits=splits)
        text = json_text({"format_version": FORMAT_VERSION, **asdict(written)}, indent=2)
        (partial / "dataset.json").write_text(text + "\n", encoding="utf-8")
    return written


@dataclass(frozen=True)
class Dataset:
    """An opened directory of prepared data."""

    directory: Path
    info: DatasetInfo

    @classmethod
    def open(cls, directory: Path, *, modality: str | None = None) -> "Dataset":
        """Open prepared data.

        Raises:
            InputError: they are missing, cannot be read, or are not of `modality`, if that is given.
        """
        path = directory / "dataset.json"
        if not path.is_file():
            raise InputError(f"{directory} holds no prepared data (no dataset.json); make it with prepare_*.py")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format_version")
            if version != FORMAT_VERSION:
                raise InputError(f"its format version is {version}; this program reads version {FORMAT_VERSION}")
            if unknown := sorted(set(content) - {f.name for f in fields(DatasetInfo)}):
                raise InputError(f"it has the unknown key {unknown[0]!r}; remove that, or prepare the data again")
            info = DatasetInfo(**content)
        except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
            raise InputError(f"{path} cannot be read as a description of data: {error}") from None
        if modality is not None and info.modality != modality:
            raise InputError(f"{directory} holds {info.modality}; data for {modality} is needed")
        return cls(directory, info)

    def tokens(self, split: str) -> Tokens:
        """All ids of a split, memory-mapped, (N,) uint8 or uint16.

        `write_dataset` writes a file of tokens before dataset.json. A file that is still older has not changed since,
        so that only its size is checked. The digest of a newer one, as of a copy, is computed and compared.

        Raises:
            InputError: the split is empty or missing, or differs from what dataset.json says.
        """
        path = self.directory / f"{split}.bin"
        expected = self.info.splits.get(split, {}).get("tokens", 0) * self.info.dtype.itemsize
        if not expected:
            raise InputError(f"{self.directory} has no tokens in its {split} split")
        if not path.is_file() or path.stat().st_size != expected:
            raise InputError(f"{path} should have {expected} bytes by dataset.json; prepare the data again")
        if path.stat().st_mtime_ns >= (self.directory / "dataset.json").stat().st_mtime_ns:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.info.splits[split]["sha256"]:
                raise InputError(f"{path} is damaged (its sha256 is not that in dataset.json); prepare the data again")
        return np.memmap(path, dtype=self.info.dtype, mode="r")


def check_long_enough(tokens: Tokens, block_size: int, where: str) -> None:
    """Raise InputError unless `tokens` (N,) hold one window of `block_size` inputs and their targets."""
    if len(tokens) < block_size + 1:
        raise InputError(
            f"{where} has {len(tokens)} tokens; a block_size of {block_size} needs at least {block_size + 1}"
        )


def windows_at(tokens: Tokens, offsets: Iterable[int], block_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (B, block_size) int64, of the windows of `tokens` (N,) that begin at `offsets`."""
    rows = np.stack([tokens[o : o + block_size + 1] for o in offsets]).astype(np.int64)
    batch = torch.from_numpy(rows)  # (B, block_size + 1)
    return batch[:, :-1], batch[:, 1:]


def training_offsets(n_tokens: int, block_size: int, batch_size: int, *, seed: int, step: int) -> list[int]:
    """Where the windows of a step's global batch begin. Depends on nothing but the arguments."""
    stream = np.random.Philox(np.random.SeedSequence([seed, step]))
    starts = np.random.Generator(stream).integers(0, n_tokens - block_size, size=batch_size)
    return [int(start) for start in starts]


def count_windows(n_tokens: int, block_size: int) -> int:
    """How many windows of block_size inputs, with a target each, the data hold without overlap."""
    return (n_tokens - 1) // block_size


def spread_offsets(n_tokens: int, block_size: int, count: int) -> list[int]:
    """Where up to `count` windows begin that are evenly spaced over the data and do not overlap."""
    count = max(1, min(count, count_windows(n_tokens, block_size)))
    return [int(start) for start in np.linspace(0, n_tokens - 1 - block_size, count)]
