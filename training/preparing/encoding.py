"""Files to token ids, on several processes. Finished results are kept, so that an interrupted preparation continues."""

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
from waveletgpt.training.preparing.source import SourceFile, UnpackLimitError
from waveletgpt.training.preparing.work import WorkFolder
from waveletgpt.training.preparing.workers import Workers

BLOCK = 1 << 22  # ids copied at a time
S = TypeVar("S")
Skipped = dict[str, str]
"""Files that cannot be used, each with the reason."""


@dataclass(frozen=True)
class FileJob(Generic[S]):
    """A file to write, and what to make it from."""

    target: Path
    source: S


@dataclass(frozen=True)
class Piece:
    """The ids of one file, or of a stretch of text, in a file of their own."""

    name: str
    path: Path
    tokens: int


def cache_path(work: WorkFolder, *inputs: Any) -> Path:
    """Where the result that depends on `inputs` (JSON values) is kept."""
    return work.pieces / hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:40]


def write_each(
    write: Callable[[S, Path], None], jobs: Iterable[FileJob[S]], workers: Workers
) -> Iterator[tuple[FileJob[S], InputError | None]]:
    """Call `write(source, target)` for each job, atomically. Yields the job and the InputError that it raised, if any.

    Jobs are yielded in the order in which they finish.
    """
    with closing(workers.spread(partial(_write, write), jobs)) as results:
        yield from results


def _write(write: Callable[[S, Path], None], job: FileJob[S]) -> None:
    with atomic_path(job.target) as unfinished:
        write(job.source, unfinished)


def encode_files(
    files: Sequence[SourceFile],
    encode: Callable[[Path], Iterable[Tensor]],
    info: DatasetInfo,
    work: WorkFolder,
    workers: Workers,
) -> tuple[list[Piece], Skipped]:
    """Encode each file. Files that an earlier run encoded with the same tokenizer are not encoded again.

    Args:
        files: what to encode.
        encode: picklable; yields the ids of a file in blocks, or raises InputError.
        info: its tokenizer and dtype decide the result.
        work: keeps the results.
        workers: the processes that encode.

    Returns:
        The pieces, sorted by name, and the files that `encode` refused.

    Raises:
        UnpackLimitError: a packed file unpacks to more than it may.
    """
    targets = {cache_path(work, info.tokenizer, file.name, file.size, file.stamp): file for file in files}
    missing = {target: file for target, file in targets.items() if not target.exists()}
    skipped: Skipped = {}

    def jobs() -> Iterator[FileJob[Path]]:
        for target, file in missing.items():
            try:
                yield FileJob(target, file.on_disk(work.scratch))
            except UnpackLimitError:
                raise
            except InputError as error:
                skipped[file.name] = str(error).removeprefix(f"{file.name} ")
                advance(file.size)

    total, left = (sum(file.size for file in some.values()) for some in (targets, missing))
    with progress_bar("encoding", total or None, unit="bytes", done=total - left) as advance:
        for job, error in write_each(partial(_write_ids, encode, info.dtype.str), jobs(), workers):
            file = missing[job.target]
            if error:
                skipped[file.name] = str(error).removeprefix(f"{job.source}: ")
            if not file.path:
                job.source.unlink()
            advance(file.size)
    pieces = [
        Piece(file.name, target, target.stat().st_size // info.dtype.itemsize)
        for target, file in targets.items()
        if file.name not in skipped
    ]
    return sorted(pieces, key=lambda piece: PurePosixPath(piece.name)), skipped


def _write_ids(encode: Callable[[Path], Iterable[Tensor]], dtype: str, path: Path, target: Path) -> None:
    """Write the ids of the file at `path` as raw numbers."""
    with target.open("wb") as file:
        for ids in encode(path):
            file.write(ids.numpy().astype(dtype).tobytes())


@contextmanager
def mention_skipped(skipped: Skipped) -> Iterator[None]:
    """An InputError of the block also says how many files were skipped, and why the first of them was."""
    try:
        yield
    except InputError as error:
        if not skipped:
            raise
        name = min(skipped)
        message = f"{error}; {len(skipped)} cannot be read, the first of them is {name}: {skipped[name]}"
        raise InputError(message) from None


def write_whole_pieces(
    out: Path,
    info: DatasetInfo,
    pieces: Sequence[Piece],
    split_of: Mapping[str, str],
    *,
    skipped: Skipped,
) -> DatasetInfo:
    """Write `pieces` as prepared data, each whole into the split that `split_of` gives for its name."""
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
    """Write `pieces`, joined in their order, as prepared data.

    Args:
        out: directory to write.
        info: describes the data.
        pieces: all ids, those of train first, then val, then test.
        files: by split, how many tokens of each file it gets.
        skipped: files that could not be used, listed in dataset.json.

    Raises:
        InputError: a split gets no tokens.
    """
    ends = list(accumulate(sum(files[split].values()) for split in SPLITS))
    bounds = dict(zip(SPLITS, pairwise([0, *ends]), strict=True))
    with mention_skipped(skipped):
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
