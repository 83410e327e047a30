"""Texts of any size to ids. They are read twice: first for their lengths and characters, then for their ids.

A text is cut into parts of a few megabytes, and each part is read and encoded on its own.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from waveletgpt.common.errors import InputError
from waveletgpt.common.progress import progress_bar
from waveletgpt.tokenizers.characters import BOM, CharacterTokenizer, unify_line_ends
from waveletgpt.training.preparing.encoding import FileJob, Piece, Skipped, cache_path, write_each
from waveletgpt.training.preparing.source import SourceFile, UnpackLimitError
from waveletgpt.training.preparing.work import WorkFolder
from waveletgpt.training.preparing.workers import Workers

PART = 1 << 22  # bytes read, and encoded, at a time
SEPARATOR = "\n\n"
"""Stands between two texts: an empty line."""


# Parts of a text.


@dataclass(frozen=True)
class Part:
    """Bytes of a UTF-8 text. A part never ends within a character or between \\r and \\n."""

    file: str
    offset: int
    """Position of its first byte in the file."""
    data: bytes
    suffix: str = ""
    """Characters that follow it in the prepared text, before the next file."""

    @property
    def text(self) -> str:
        """The characters, with \\n for every line end and no byte order mark. Raises InputError if it is not UTF-8."""
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text: byte {self.offset + error.start} cannot be read") from None
        if not self.offset:
            text = text.removeprefix(BOM)
        return unify_line_ends(text)


def split_into_parts(file: str, blocks: Iterable[bytes]) -> Iterator[Part]:
    """Parts of a file, each about as long as a block of its bytes."""
    offset, rest = 0, b""
    for block in blocks:
        data = rest + block
        end = _last_character(data)
        rest = data[end:]
        if end:
            yield Part(file, offset, data[:end])
            offset += end
    if rest:
        yield Part(file, offset, rest)


def batch_parts(parts: Iterable[Part], size: int) -> Iterator[list[Part]]:
    """Group `parts` into batches of at most `size` bytes; a longer part is a batch of its own."""
    batch: list[Part] = []
    held = 0
    for part in parts:
        if batch and held + len(part.data) > size:
            yield batch
            batch, held = [], 0
        batch.append(part)
        held += len(part.data)
    if batch:
        yield batch


def _last_character(data: bytes) -> int:
    """Where the last character of `data` begins, or the last \\r\\n. The character may be incomplete."""
    end = len(data) - 1
    # A character has at most three continuation bytes. If there are more, the data is not UTF-8, and any cut is fine.
    end = next((at for at in range(end, max(end - 4, -1), -1) if data[at] & 0xC0 != 0x80), end)
    if data[max(end - 1, 0) : end + 1] == b"\r\n":
        end -= 1
    return end


# The two readings.


@dataclass
class Survey:
    """What the first reading finds in a text."""

    size: int = 0
    """Bytes."""
    length: int = 0
    """Characters."""
    alphabet: frozenset[str] = frozenset()
    unknown: tuple[str, int] | None = None
    """The first character outside the given alphabet, and its position."""


def sort_by_name(files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """Sort `files` by name. If that is not the order of their archive, they are unpacked into `folder`."""
    ordered = sorted(files, key=lambda file: PurePosixPath(file.name))
    if ordered == files:
        return ordered
    copies = {file.name: file.on_disk(folder) for file in files}
    return [replace(SourceFile.at(copies[file.name], file.name), stamp=file.stamp) for file in ordered]


def survey_texts(
    files: Sequence[SourceFile], alphabet: str | None, *, work: WorkFolder, workers: Workers
) -> tuple[dict[str, Survey], Skipped]:
    """Read the texts for their lengths and characters.

    Args:
        files: the texts.
        alphabet: if given, the first character outside it is looked for in each text.
        work: keeps results, so that an interrupted run continues.
        workers: the processes that read.

    Returns:
        A survey of each text by name, and the files that are not UTF-8 text.

    Raises:
        UnpackLimitError: a packed text unpacks to more than it may.
    """
    surveys = {file.name: Survey() for file in files}
    skipped: Skipped = {}

    def parts() -> Iterator[Part]:
        for file in files:
            try:
                yield from split_into_parts(file.name, file.blocks(PART))
            except UnpackLimitError:
                raise
            except InputError as error:
                skipped[file.name] = str(error).removeprefix(f"{file.name} ")

    total = sum(file.size for file in files)
    write, settings = partial(_write_facts, alphabet), ["facts", alphabet]
    for batch in _write_batches("reading", write, files, parts(), settings, total=total, work=work, workers=workers):
        facts = [{"why": batch.error}] * len(batch.parts) if batch.error else json.loads(batch.path.read_text("utf-8"))
        for (name, size), fact in zip(batch.parts, facts, strict=True):
            survey = surveys[name]
            if "why" in fact:
                skipped.setdefault(name, fact["why"])
                continue
            if fact["unknown"] and not survey.unknown:
                character, position = fact["unknown"]
                survey.unknown = character, survey.length + position
            survey.size += size
            survey.length += fact["length"]
            survey.alphabet |= frozenset(fact["alphabet"])
    for name, survey in surveys.items():
        if not survey.length:
            skipped.setdefault(name, "holds no text")
    return {name: survey for name, survey in surveys.items() if name not in skipped}, skipped


def encode_texts(
    files: Sequence[SourceFile],
    surveys: Mapping[str, Survey],
    tokenizer: CharacterTokenizer,
    dtype: str,
    *,
    work: WorkFolder,
    workers: Workers,
) -> list[Piece]:
    """Encode the `files` that are in `surveys`, with an empty line between each two.

    Raises:
        InputError: a text is no longer what its survey says.
    """
    files = [file for file in files if file.name in surveys]

    def parts() -> Iterator[Part]:
        for file in files:
            for part in split_into_parts(file.name, file.blocks(PART)):
                is_last = part.offset + len(part.data) == surveys[file.name].size
                yield replace(part, suffix=SEPARATOR) if is_last and file is not files[-1] else part

    total = sum(surveys[file.name].size for file in files)
    write, settings = partial(_write_ids, tokenizer, dtype), [tokenizer.to_dict()]
    pieces = []
    for batch in _write_batches("encoding", write, files, parts(), settings, total=total, work=work, workers=workers):
        if batch.error:
            raise InputError(f"{batch.parts[0][0]}: {batch.error}")
        tokens = batch.path.stat().st_size // np.dtype(dtype).itemsize
        pieces.append(Piece(batch.parts[0][0], batch.path, tokens))
    expected = sum(surveys[file.name].length for file in files) + len(SEPARATOR) * (len(files) - 1)
    if sum(piece.tokens for piece in pieces) != expected:
        raise InputError("the texts changed while they were read; run the same command again")
    return pieces


@dataclass
class _Batch:
    """The result for a batch of parts, from one or more files."""

    path: Path
    parts: list[tuple[str, int]]
    """The file of each part, and its number of bytes."""
    error: str = ""


def _write_batches(
    label: str,
    write: Callable[[list[Part], Path], None],
    files: Sequence[SourceFile],
    parts: Iterable[Part],
    settings: list[Any],
    *,
    total: int,
    work: WorkFolder,
    workers: Workers,
) -> list[_Batch]:
    """Call `write` for each batch of `parts`, except where an earlier run has written its result.

    Args:
        label: of the progress bar.
        write: takes a batch and the file to write.
        files: all files that `parts` come from.
        parts: in order; read only as workers become free.
        settings: what the result depends on besides the files, as JSON values.
        total: bytes of all parts.
        work: keeps the results.
        workers: the processes that call `write`.
    """
    versions = {file.name: [file.name, file.size, file.stamp] for file in files}
    found: dict[Path, _Batch] = {}
    with progress_bar(label, total or None, unit="bytes") as advance:

        def jobs() -> Iterator[FileJob[list[Part]]]:
            for batch in batch_parts(parts, PART):
                identity = [[*versions[part.file], part.offset, len(part.data), part.suffix] for part in batch]
                path = cache_path(work, settings, identity)
                found[path] = _Batch(path, [(part.file, len(part.data)) for part in batch])
                if path.exists():
                    advance(sum(len(part.data) for part in batch))
                else:
                    yield FileJob(path, batch)

        for job, error in write_each(write, jobs(), workers):
            found[job.target].error = str(error or "")
            advance(sum(len(part.data) for part in job.source))
    return list(found.values())


def _write_facts(alphabet: str | None, parts: list[Part], target: Path) -> None:
    """Write the length, characters and first unknown character of each part as JSON."""
    facts: list[dict[str, Any]] = []
    for part in parts:
        try:
            text = part.text
        except InputError as error:
            facts.append({"why": str(error)})
            continue
        characters = set(text)
        outside = characters - set(characters if alphabet is None else alphabet)
        first = min(((text.index(character), character) for character in outside), default=None)
        unknown = first and [first[1], first[0]]
        facts.append({"length": len(text), "alphabet": "".join(sorted(characters)), "unknown": unknown})
    target.write_text(json.dumps(facts), encoding="utf-8")


def _write_ids(tokenizer: CharacterTokenizer, dtype: str, parts: list[Part], target: Path) -> None:
    """Write the ids of the parts as raw numbers."""
    with target.open("wb") as file:
        for part in parts:
            file.write(tokenizer.encode(part.text + part.suffix).numpy().astype(dtype).tobytes())
