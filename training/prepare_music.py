"""Prepare piano music: MIDI files to event tokens, split by a csv among them, or 88/6/6 by size."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.modalities import MUSIC
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.training.data import DatasetInfo, check_replaceable
from waveletgpt.training.preparing.command import PrepareConfig, prepare_command
from waveletgpt.training.preparing.composing import compose
from waveletgpt.training.preparing.encoding import encode_files, mention_skipped, write_whole_pieces
from waveletgpt.training.preparing.source import SourceFile, opened_source
from waveletgpt.training.preparing.splits import split_by_size
from waveletgpt.training.preparing.work import work_folder

SUFFIXES, TABLE = (".mid", ".midi"), ".csv"
BUILTIN_PIECES, BUILTIN_SECONDS = 40, 40.0
MAESTRO_LICENCE = "CC BY-NC-SA 4.0: non-commercial use only, with credit"
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
"""Names of the splits in MAESTRO's csv, and here."""


@dataclass(frozen=True)
class Config(PrepareConfig):
    """MIDI files to event tokens on a 10 ms grid."""

    source: str
    """A folder or archive of MIDI files (MAESTRO's zip as it is), a URL of one, or `builtin`: piano pieces that
    this project composes, to try things without data. A csv among the files with the columns
    midi_filename and split (train, validation, test), as MAESTRO has, decides the split."""

    @property
    def is_maestro(self) -> bool:
        """Whether the source's name says that it is MAESTRO."""
        return Path(self.source).name.lower().startswith("maestro")

    def provenance(self, builtin: str, builtin_licence: str) -> dict[str, Any]:
        """Source, licence and origin. MAESTRO's licence need not be given."""
        facts = super().provenance(builtin, builtin_licence)
        is_unstated = self.is_maestro and self.licence == PrepareConfig.licence
        return {**facts, "licence": MAESTRO_LICENCE} if is_unstated else facts


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data, and return what is in dataset.json. Files that cannot be read are listed there.

    Every piece begins with PAD.

    Raises:
        InputError: the source cannot be used. Nothing is written.
    """
    check_replaceable(config.out)
    if config.is_maestro:
        print(f"note: MAESTRO, and any model trained on it, is {MAESTRO_LICENCE}", file=sys.stderr)
    tokenizer = MidiTokenizer()
    info = DatasetInfo(
        modality=MUSIC.name,
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report=MUSIC.loss_unit,
        **config.provenance("piano pieces composed by waveletgpt", "CC0 1.0"),
    )
    with (
        work_folder(config.out) as work,
        config.processes() as workers,
        opened_source(config.source, (*SUFFIXES, TABLE), write_examples, work, trusted=config.trust_archive) as found,
    ):
        files = [file for file in found if not file.name.lower().endswith(TABLE)]
        split_of = split_by_csv(found)
        if split_of:
            files = [file for file in files if file.name in split_of]
        pieces, skipped = encode_files(files, encode_performance, info, work, workers)
        if not split_of:
            sizes = {file.name: file.size for file in files if file.name not in skipped}
            with mention_skipped(skipped):
                split_of = split_by_size(sizes)
        return write_whole_pieces(config.out, info, pieces, split_of, skipped=skipped)


def split_by_csv(files: Sequence[SourceFile]) -> dict[str, str]:
    """The split of each file by name, from the csv among `files`; empty if there is none."""
    names = {file.name for file in files}
    for table in sorted(files, key=lambda file: PurePosixPath(file.name)):
        if not table.name.lower().endswith(TABLE):
            continue
        try:
            text = b"".join(table.blocks()).decode("utf-8-sig")
            rows = list(csv.DictReader(io.StringIO(text, newline=""), restval=""))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{table.name} cannot be read as a csv: {error}") from None
        if not rows or not {"midi_filename", "split"} <= set(rows[0]):
            continue
        splits = {}
        for row in rows:
            midi = (PurePosixPath(table.name).parent / row["midi_filename"]).as_posix()
            if row["split"] not in SPLIT_NAMES:
                raise InputError(f"{table.name} has the split {row['split']!r}; known are {', '.join(SPLIT_NAMES)}")
            if midi not in names:
                raise InputError(f"{table.name} names {row['midi_filename']}, which is not there")
            splits[midi] = SPLIT_NAMES[row["split"]]
        return splits
    return {}


def encode_performance(path: Path) -> Iterator[Tensor]:
    """The events of a MIDI file, with PAD before them."""
    tokenizer = _tokenizer()
    yield tokenizer.start
    yield tokenizer.encode(path)


@cache
def _tokenizer() -> MidiTokenizer:
    return MidiTokenizer()


def write_examples(folder: Path) -> None:
    """Write piano pieces composed here as MIDI files."""
    for seed in range(BUILTIN_PIECES):
        write_midi(folder / f"{seed:03}.mid", compose(seed, BUILTIN_SECONDS))


def summary(_: Config, info: DatasetInfo) -> str:
    """The pieces and events in each split."""
    return "; ".join(f"{f['pieces']:,} pieces, {f['tokens']:,} events {split}" for split, f in info.splits.items())


def main() -> None:
    """Run the command."""
    prepare_command(Config, prepare, summary, __doc__ or "")


if __name__ == "__main__":
    run_command(main)
