"""Two readings of texts: one for their lengths and their characters, one for their ids."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from waveletgpt.common.errors import InputError
from waveletgpt.common.progress import progress_bar
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.preparing.encoding import Job, Piece, Skipped, kept_path, write_each
from waveletgpt.training.preparing.source import SourceFile
from waveletgpt.training.preparing.text_parts import Part, batches, parts_of
from waveletgpt.training.preparing.work import Work
from waveletgpt.training.preparing.workers import Workers

PART = 1 << 22  # bytes read, and encoded, at a time
BETWEEN = "\n\n"
"""What stands between two texts: an empty line."""


@dataclass
class Survey:
    """What the first reading finds in a text."""

    size: int = 0
    """Bytes."""
    length: int = 0
    """Characters."""
    alphabet: frozenset[str] = frozenset()
    unknown: tuple[str, int] | None = None
    """The first character that is not in the alphabet that was asked for, and how many are before it."""


def in_order_of_names(files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """`files` sorted by name, unpacked into `folder` if their archive cannot be read in that order."""
    ordered = sorted(files, key=lambda file: PurePosixPath(file.name))
    if ordered == files:
        return ordered
    copies = {file.name: file.on_disk(folder) for file in files}
    return [replace(SourceFile.at(copies[file.name], file.name), stamp=file.stamp) for file in ordered]


def survey_texts(
    files: Sequence[SourceFile], alphabet: str | None, *, work: Work, workers: Workers
) -> tuple[dict[str, Survey], Skipped]:
    """What is in each text, by its name, and the files that are no text in UTF-8.

    Where an alphabet is asked for, the first character that it does not have is found.
    """
    surveys = {file.name: Survey() for file in files}
    skipped: Skipped = {}

    def parts() -> Iterator[Part]:
        for file in files:
            try:
                yield from parts_of(file.name, file.blocks(PART))
            except InputError as error:
                skipped[file.name] = str(error).removeprefix(f"{file.name} ")

    total = sum(file.size for file in files)
    write, settings = partial(_write_facts, alphabet), ["facts", alphabet]
    for batch in _written("reading", write, files, parts(), settings, total=total, work=work, workers=workers):
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
    work: Work,
    workers: Workers,
) -> list[Piece]:
    """The ids of those `files` that `surveys` has, an empty line between each two.

    Raises InputError if they are not what the survey has seen.
    """
    files = [file for file in files if file.name in surveys]

    def parts() -> Iterator[Part]:
        for file in files:
            for part in parts_of(file.name, file.blocks(PART)):
                closes = part.offset + len(part.data) == surveys[file.name].size and file is not files[-1]
                yield replace(part, ending=BETWEEN) if closes else part

    total = sum(surveys[file.name].size for file in files)
    write, settings = partial(_write_ids, tokenizer, dtype), [tokenizer.to_dict()]
    pieces = []
    for batch in _written("encoding", write, files, parts(), settings, total=total, work=work, workers=workers):
        if batch.error:
            raise InputError(f"{batch.parts[0][0]}: {batch.error}")
        tokens = batch.path.stat().st_size // np.dtype(dtype).itemsize
        pieces.append(Piece(batch.parts[0][0], batch.path, tokens))
    expected = sum(surveys[file.name].length for file in files) + len(BETWEEN) * (len(files) - 1)
    if sum(piece.tokens for piece in pieces) != expected:
        raise InputError("the texts have changed while they were read; run the same command again")
    return pieces


@dataclass
class _Batch:
    """What was written about parts of one or more files."""

    path: Path
    parts: list[tuple[str, int]]
    """The file of each part, and how many bytes it has."""
    error: str = ""


def _written(
    what: str,
    write: Callable[[list[Part], Path], None],
    files: Sequence[SourceFile],
    parts: Iterable[Part],
    settings: list[Any],
    *,
    total: int,
    work: Work,
    workers: Workers,
) -> list[_Batch]:
    """Call `write` for the parts, a few at a time, except for those that an earlier run has written.

    `what` is said on the progress bar; `settings` are what the result depends on beside the files.
    """
    versions = {file.name: [file.name, file.size, file.stamp] for file in files}
    found: dict[Path, _Batch] = {}
    with progress_bar(what, total or None, unit="bytes") as advance:

        def jobs() -> Iterator[Job[list[Part]]]:
            for batch in batches(parts, PART):
                identity = [[*versions[part.file], part.offset, len(part.data), part.ending] for part in batch]
                path = kept_path(work, settings, identity)
                found[path] = _Batch(path, [(part.file, len(part.data)) for part in batch])
                if path.exists():
                    advance(sum(len(part.data) for part in batch))
                else:
                    yield Job(path, batch)

        for job, error in write_each(write, jobs(), workers):
            found[job.target].error = str(error or "")
            advance(sum(len(part.data) for part in job.material))
    return list(found.values())


def _write_facts(alphabet: str | None, parts: list[Part], target: Path) -> None:
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
    with target.open("wb") as file:
        for part in parts:
            file.write(tokenizer.encode(part.text + part.ending).numpy().astype(dtype).tobytes())
