"""Prepare text: characters to ids, split by position into 90 % train, 5 % val and 5 % test."""

import pydoc_data.topics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.modalities import TEXT
from waveletgpt.models.checkpoint import read_info
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import DatasetInfo, check_replaceable
from waveletgpt.training.preparing.command import PrepareConfig, prepare_command
from waveletgpt.training.preparing.encoding import mention_skipped, write_pieces
from waveletgpt.training.preparing.source import opened_source
from waveletgpt.training.preparing.splits import split_by_position
from waveletgpt.training.preparing.texts import SEPARATOR, Survey, encode_texts, sort_by_name, survey_texts
from waveletgpt.training.preparing.work import work_folder

SUFFIXES = (".txt",)


@dataclass(frozen=True)
class Config(PrepareConfig):
    """Characters to ids, split by position: 90 % train, 5 % val, 5 % test."""

    source: str
    """A text file in UTF-8, a folder or archive of .txt files, a packed text (.gz, .bz2, .xz), a URL of one, or
    `builtin`: the manual that comes with Python, to try things without data."""
    alphabet: Literal["learned", "text8"] = "learned"
    """learned: every character that occurs. text8: a-z and space; other characters are an error."""
    tokenizer: Path | None = None
    """A checkpoint whose alphabet is taken over, so that it can be evaluated on this text. Other characters are an
    error, unless its tokenizer or --replacement replaces them."""
    replacement: str | None = None
    """Character of the alphabet that replaces characters outside it, which are an error otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer and self.alphabet != "learned":
            raise InputError(f"--tokenizer and --alphabet {self.alphabet} both give an alphabet; give one of them")


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data, and return what is in dataset.json. Files that cannot be read are listed there.

    Texts are joined in the order of their names, with an empty line between each two. Every line end becomes \\n.

    Raises:
        InputError: the source cannot be used. Nothing is written.
    """
    check_replaceable(config.out)
    given = given_tokenizer(config)
    with (
        work_folder(config.out) as work,
        config.processes() as workers,
        opened_source(config.source, SUFFIXES, write_manual, work, trusted=config.trust_archive) as found,
    ):
        files = sort_by_name(found, work.scratch)
        alphabet = given.alphabet if given else None
        surveys, skipped = survey_texts(files, alphabet, work=work, workers=workers)
        with mention_skipped(skipped):
            if not surveys:
                raise InputError(f"{config.source} holds no text")
        tokenizer = given or learned_tokenizer(surveys, config.replacement)
        check_known(surveys, tokenizer)
        info = DatasetInfo(
            modality=TEXT.name,
            tokenizer=tokenizer.to_dict(),
            vocab_size=tokenizer.vocab_size,
            report=TEXT.loss_unit,
            **config.provenance("Python's manual (pydoc_data.topics)", "PSF License Agreement"),
        )
        pieces = encode_texts(files, surveys, tokenizer, info.dtype.str, work=work, workers=workers)
        lengths = {name: survey.length + len(SEPARATOR) for name, survey in surveys.items()}
        lengths[next(reversed(lengths))] -= len(SEPARATOR)  # not after the last
        return write_pieces(config.out, info, pieces, split_by_position(lengths), skipped=skipped)


def given_tokenizer(config: Config) -> CharacterTokenizer | None:
    """The tokenizer that the settings give; None if the alphabet is to be learned.

    Raises:
        InputError: --tokenizer is no checkpoint for text.
    """
    if config.tokenizer:
        info = read_info(config.tokenizer)
        if info.modality != TEXT.name:
            raise InputError(f"{config.tokenizer} is a checkpoint for {info.modality}; --tokenizer takes one for text")
        theirs = CharacterTokenizer.from_dict(info.tokenizer)
        return theirs if config.replacement is None else replace(theirs, replacement=config.replacement)
    return CharacterTokenizer.text8(config.replacement) if config.alphabet == "text8" else None


def learned_tokenizer(surveys: Mapping[str, Survey], replacement: str | None) -> CharacterTokenizer:
    """A tokenizer whose alphabet is every character of the prepared text."""
    alphabets = ["".join(survey.alphabet) for survey in surveys.values()]
    return CharacterTokenizer.from_text([*alphabets, SEPARATOR] if len(alphabets) > 1 else alphabets, replacement)


def check_known(surveys: Mapping[str, Survey], tokenizer: CharacterTokenizer) -> None:
    """Raise InputError if a text has a character that `tokenizer` would refuse."""
    if tokenizer.replacement is not None:
        return
    advice = f"is not in the alphabet {tokenizer.quoted}; --replacement takes a character to replace it"
    for name, survey in surveys.items():
        if survey.unknown:
            character, position = survey.unknown
            raise InputError(f"{name}: character {character!r} at position {position} {advice}")
    if len(surveys) > 1 and not set(SEPARATOR) <= set(tokenizer.alphabet):
        raise InputError(f"the empty line between two texts {advice}")


def write_manual(folder: Path) -> None:
    """Write the manual that comes with Python, one file per topic."""
    for topic, text in pydoc_data.topics.topics.items():
        (folder / f"{topic}.txt").write_text(text, encoding="utf-8")


def summary(_: Config, info: DatasetInfo) -> str:
    """The size of the alphabet, and the characters in each split."""
    counts = ", ".join(f"{facts['tokens']:,} {split}" for split, facts in info.splits.items())
    return f"{info.vocab_size} characters in the alphabet; {counts}"


def main() -> None:
    """Run the command."""
    prepare_command(Config, prepare, summary, __doc__ or "")


if __name__ == "__main__":
    run_command(main)
