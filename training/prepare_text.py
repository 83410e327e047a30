"""Prepare text: characters to ids, split by position, 90 % to train on, 5 % each to validate and test."""

import pydoc_data.topics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from torch import Tensor

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.source import BUILTIN, files_under, opened_source

CHUNK = 1 << 22
"""Characters encoded at a time."""


@dataclass(frozen=True)
class Config:
    """Characters to ids, split by position: 90 % to train on, 5 % each to validate and to test."""

    source: str
    """A text file in UTF-8, a folder of .txt files, an archive or .gz of either, a URL of one, or `builtin`: the manual
    that comes with Python, to try things with no data at hand."""
    out: Path
    """Directory to write."""
    alphabet: Literal["learned", "text8"] = "learned"
    """learned: every character that occurs. text8: a-z and space; any other character is refused."""
    replacement: str | None = None
    """Character of the alphabet to put where one outside it occurs, instead of refusing it."""
    name: str = ""
    """What model cards call the data; the source's file name unless given."""
    licence: str = "not stated"
    """Terms of the data, kept with what is trained on it."""


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data; InputError, with nothing written, if the source cannot be used."""
    text = read_source(config.source)
    if not text:
        raise InputError(f"{config.source} holds no text")
    make: dict[str, Callable[[], CharacterTokenizer]] = {
        "learned": lambda: CharacterTokenizer.from_text(text, replacement=config.replacement),
        "text8": lambda: CharacterTokenizer.text8(replacement=config.replacement),
    }
    tokenizer = make[config.alphabet]()
    unknown = set(text) - set(tokenizer.alphabet)
    if unknown and config.replacement is None:
        position = min(map(text.index, unknown))
        raise InputError(
            f"{config.source}: character {text[position]!r} at position {position} is not in the alphabet "
            f"{config.alphabet}; --replacement takes a character to put in its place"
        )
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    bounds = {"train": (0, first), "val": (first, second), "test": (second, len(text))}
    pieces = {split: encoded(tokenizer, text[start:end]) for split, (start, end) in bounds.items()}
    builtin = config.source == BUILTIN
    info = DatasetInfo(
        modality="text",
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report="bits per character",
        source="Python's manual (pydoc_data.topics)" if builtin else config.name or Path(config.source).name,
        licence="PSF License Agreement" if builtin else config.licence,
    )
    return write_dataset(config.out, info, pieces)


def encoded(tokenizer: CharacterTokenizer, text: str) -> Iterator[Tensor]:
    """Ids of `text`, CHUNK characters at a time."""
    for start in range(0, len(text), CHUNK):
        yield tokenizer.encode(text[start : start + CHUNK])


def read_source(source: str) -> str:
    """All text of a source, files in order of their names with an empty line between them.

    Lines end in a newline alone, whatever ended them, and no byte order mark is left.
    """
    with opened_source(source, write_manual) as path:
        texts = []
        for file in files_under(path, (".txt",)):
            try:
                texts.append(file.read_text(encoding="utf-8-sig"))
            except UnicodeDecodeError as error:
                raise InputError(f"{file.name} is not UTF-8 text: byte {error.start} cannot be read") from None
        return "\n\n".join(texts)


def write_manual(folder: Path) -> None:
    """Write the manual that comes with Python, a file a topic."""
    for topic, text in pydoc_data.topics.topics.items():
        (folder / f"{topic}.txt").write_text(text, encoding="utf-8")


def main() -> None:
    """Read the command line and prepare."""
    config = parse(Config, description=__doc__)
    console = Console(highlight=False, soft_wrap=True)
    with console.status(f"encoding {config.source} ..."):
        info = prepare(config)
    counts = ", ".join(f"{facts['tokens']:,} {split}" for split, facts in info.splits.items())
    console.print(f"{config.out}: {info.vocab_size} characters in the alphabet; {counts}")


if __name__ == "__main__":
    run_command(main)
