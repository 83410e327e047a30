"""Files to token ids, in several processes. What is done is kept, so that an interrupted preparation goes on."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.common.progress import progress_bar
from waveletgpt.training.data import SPLITS, DatasetInfo, Tokens, write_dataset
from waveletgpt.training.preparing.source import SourceFile
from waveletgpt.training.preparing.work import Work
from waveletgpt.training.preparing.workers import Workers

BLOCK = 1 << 22  # ids copied at a time
M = TypeVar("M")
Skipped = dict[str, str]
"""Files that cannot be used, and why."""


@dataclass(frozen=True)
class Job(Generic[M]):
    """A file to write, and what it is made from."""

    target: Path
    material: M


@dataclass(frozen=True)
class Piece:
    """The ids of a file, or of a stretch of the source, in a file of their own."""

    name: str
    path: Path
    tokens: int


def kept_path(work: Work, *facts: Any) -> Path:
    """Where that is kept which is made from `facts`, told as JSON can."""
    return work.pieces / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def write_each(
    write: Callable[[M, Path], None], jobs: Iterable[Job[M]], workers: Workers
) -> Iterator[tuple[Job[M], InputError | None]]:
    """Call `write(material, target)` for each job, atomically, and yield it with the InputError that it raised."""
    with closing(workers.spread(partial(_write, write), jobs)) as results:
        yield from results


def _write(write: Callable[[M, Path], None], job: Job[M]) -> None:
    with atomic_path(job.target) as unfinished:
        write(job.material, unfinished)


def encode_files(
    files: Sequence[SourceFile],
    encode: Callable[[Path], Iterable[Tensor]],
    info: DatasetInfo,
    work: Work,
    workers: Workers,
) -> tuple[list[Piece], Skipped]:
    """The ids that `encode` yields for each file, in the order of their names, and the files that it refuses.

    `encode` must be picklable. Files that an earlier run has encoded for the same tokenizer are not encoded again.
    """
    targets = {kept_path(work, info.tokenizer, file.name, file.size, file.stamp): file for file in files}
    missing = {target: file for target, file in targets.items() if not target.exists()}
    skipped: Skipped = {}

    def jobs() -> Iterator[Job[Path]]:
        for target, file in missing.items():
            try:
                yield Job(target, file.on_disk(work.scratch))
            except InputError as error:
                skipped[file.name] = str(error).removeprefix(f"{file.name} ")
                advance(file.size)

    total, left = (sum(file.size for file in some.values()) for some in (targets, missing))
    with progress_bar("encoding", total or None, unit="bytes", done=total - left) as advance:
        for job, error in write_each(partial(_write_ids, encode, info.dtype.str), jobs(), workers):
            file = missing[job.target]
            if error:
                skipped[file.name] = str(error).removeprefix(f"{job.material}: ")
            if not file.path:
                job.material.unlink()
            advance(file.size)
    pieces = [
        Piece(file.name, target, target.stat().st_size // info.dtype.itemsize)
        for target, file in targets.items()
        if file.name not in skipped
    ]
    return sorted(pieces, key=lambda piece: PurePosixPath(piece.name)), skipped


def _write_ids(encode: Callable[[Path], Iterable[Tensor]], dtype: str, path: Path, target: Path) -> None:
    with target.open("wb") as file:
        for ids in encode(path):
            file.write(ids.numpy().astype(dtype).tobytes())


@contextmanager
def blaming(skipped: Skipped) -> Iterator[None]:
    """Add to an InputError of the block how many files were skipped, and the first of them."""
    try:
        yield
    except InputError as error:
        if not skipped:
            raise
        name = min(skipped)
        told = f"{error}; {len(skipped)} cannot be read, the first of them is {name}: {skipped[name]}"
        raise InputError(told) from None


def write_whole_pieces(
    out: Path,
    info: DatasetInfo,
    pieces: Sequence[Piece],
    split_of: Mapping[str, str],
    *,
    skipped: Skipped,
) -> DatasetInfo:
    """Write `pieces` as prepared data, each in the split that `split_of` gives its name, in their order."""
    chosen = {split: [piece for piece in pieces if split_of[piece.name] == split] for split in SPLITS}
    files = {split: {piece.name: piece.tokens for piece in chosen[split]} for split in SPLITS}
    ordered = [piece for split in SPLITS for piece in chosen[split]]
    return write_pieces(out, info, ordered, files, skipped=skipped)


def write_pieces(
    out: Path,
    info: DatasetInfo,
    pieces: Sequence[Piece],
    files: Mapping[str, Mapping[str, int]],
    *,
    skipped: Skipped,
) -> DatasetInfo:
    """Write `pieces`, one after another, as prepared data; `files` says how many tokens of which file a split gets.

    Raises InputError if a split gets none.
    """
    ends = list(accumulate(sum(files[split].values()) for split in SPLITS))
    bounds = dict(zip(SPLITS, pairwise([0, *ends]), strict=True))
    with blaming(skipped):
        for split, (start, stop) in bounds.items():
            if start == stop:
                raise InputError(f"nothing is left for the split {split}")
    info = replace(
        info,
        skipped=[{"file": name, "why": skipped[name]} for name in sorted(skipped)],
        files={split: dict(files[split]) for split in SPLITS},
    )
    blocks = {split: _ids_between(pieces, start, stop, info.dtype) for split, (start, stop) in bounds.items()}
    with progress_bar("writing", ends[-1] * info.dtype.itemsize, unit="bytes") as advance:
        return write_dataset(out, info, blocks, lambda n: advance(n * info.dtype.itemsize))


def _ids_between(pieces: Sequence[Piece], start: int, stop: int, dtype: np.dtype[Any]) -> Iterator[Tokens]:
    """The ids from `start` up to `stop` of all pieces joined, in blocks."""
    begin = 0
    for piece in pieces:
        first, last = max(start - begin, 0), min(stop - begin, piece.tokens)
        for at in range(first, last, BLOCK):
            yield np.fromfile(piece.path, dtype, min(BLOCK, last - at), offset=at * dtype.itemsize)
        begin += piece.tokens
