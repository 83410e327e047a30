"""Prepare text: characters to ids, split by position, 90 % to train on, 5 % each to validate and test."""

import pydoc_data.topics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.modalities import TEXT
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import DatasetInfo, check_replaceable
from waveletgpt.training.preparing.command import PrepareConfig, prepare_command
from waveletgpt.training.preparing.encoding import blaming, write_pieces
from waveletgpt.training.preparing.source import opened_source
from waveletgpt.training.preparing.splits import split_by_position
from waveletgpt.training.preparing.text_passes import BETWEEN, Survey, encode_texts, in_order_of_names, survey_texts
from waveletgpt.training.preparing.work import work_folder

SUFFIXES = (".txt",)


@dataclass(frozen=True)
class Config(PrepareConfig):
    """Characters to ids, split by position: 90 % to train on, 5 % each to validate and to test."""

    source: str
    """A text file in UTF-8, a folder or archive of .txt files, a packed text (.gz, .bz2, .xz), a URL of one, or
    `builtin`: the manual that comes with Python, to try things with no data at hand."""
    alphabet: Literal["learned", "text8"] = "learned"
    """learned: every character that occurs. text8: a-z and space; any other character is refused."""
    replacement: str | None = None
    """Character of the alphabet to put where one outside it occurs, instead of refusing it."""


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data; InputError, with nothing written, if the source cannot be used.

    Texts stand in the order of their names with an empty line between each two, and their lines end in a newline
    alone. They are read twice: for their characters, and for the ids of these. Files that cannot be read are left
    out and named in what is returned.
    """
    check_replaceable(config.out)
    given = CharacterTokenizer.text8(config.replacement) if config.alphabet == "text8" else None
    with (
        work_folder(config.out) as work,
        config.processes() as workers,
        opened_source(config.source, SUFFIXES, write_manual, work) as found,
    ):
        files = in_order_of_names(found, work.scratch)
        alphabet = given.alphabet if given else None
        surveys, skipped = survey_texts(files, alphabet, work=work, workers=workers)
        with blaming(skipped):
            if not surveys:
                raise InputError(f"{config.source} holds no text")
        tokenizer = given or learned(surveys, config.replacement)
        check_known(surveys, tokenizer)
        info = DatasetInfo(
            modality=TEXT.name,
            tokenizer=tokenizer.to_dict(),
            vocab_size=tokenizer.vocab_size,
            report=TEXT.loss_unit,
            **config.provenance("Python's manual (pydoc_data.topics)", "PSF License Agreement"),
        )
        pieces = encode_texts(files, surveys, tokenizer, info.dtype.str, work=work, workers=workers)
        lengths = {name: survey.length + len(BETWEEN) for name, survey in surveys.items()}
        lengths[next(reversed(lengths))] -= len(BETWEEN)  # none follows the last
        return write_pieces(config.out, info, pieces, split_by_position(lengths), skipped=skipped)


def learned(surveys: Mapping[str, Survey], replacement: str | None) -> CharacterTokenizer:
    """The tokenizer whose alphabet is every character of the prepared text."""
    alphabets = ["".join(survey.alphabet) for survey in surveys.values()]
    return CharacterTokenizer.from_text([*alphabets, BETWEEN] if len(alphabets) > 1 else alphabets, replacement)


def check_known(surveys: Mapping[str, Survey], tokenizer: CharacterTokenizer) -> None:
    """Raise InputError for a character that `tokenizer` would refuse."""
    if tokenizer.replacement is not None:
        return
    advice = f"is not in the alphabet {tokenizer.alphabet!r}; --replacement takes a character to put in its place"
    for name, survey in surveys.items():
        if survey.unknown:
            character, position = survey.unknown
            raise InputError(f"{name}: character {character!r} at position {position} {advice}")
    if len(surveys) > 1 and not set(BETWEEN) <= set(tokenizer.alphabet):
        raise InputError(f"the empty line between two texts {advice}")


def write_manual(folder: Path) -> None:
    """Write the manual that comes with Python, a file a topic."""
    for topic, text in pydoc_data.topics.topics.items():
        (folder / f"{topic}.txt").write_text(text, encoding="utf-8")


def summary(_: Config, info: DatasetInfo) -> str:
    """How large the alphabet is, and how many characters each split has."""
    counts = ", ".join(f"{facts['tokens']:,} {split}" for split, facts in info.splits.items())
    return f"{info.vocab_size} characters in the alphabet; {counts}"


def main() -> None:
    """Read the command line and prepare."""
    prepare_command(Config, prepare, summary, __doc__ or "")


if __name__ == "__main__":
    run_command(main)
