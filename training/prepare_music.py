"""Prepare piano music: MIDI files to event tokens, split as a csv beside them says, or 88/6/6 by size."""

import csv
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.training.data import SPLITS, DatasetInfo, write_dataset
from waveletgpt.training.pieces import compose
from waveletgpt.training.progress import progress_bar
from waveletgpt.training.source import BUILTIN, files_under, opened_source
from waveletgpt.training.splits import split_by_size

SUFFIXES = (".mid", ".midi")
BUILTIN_PIECES, BUILTIN_SECONDS = 40, 40.0
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
"""Splits as MAESTRO's csv calls them, and as they are called here."""


@dataclass(frozen=True)
class Config:
    """MIDI files to event tokens on a 10 ms grid."""

    source: str
    """A folder or archive of MIDI files (MAESTRO's zip as it is), a URL of one, or `builtin`: piano pieces that
    this project composes, to try things with no data at hand. A csv among the files with the columns
    midi_filename and split (train, validation, test), as MAESTRO has, decides the split."""
    out: Path
    """Directory to write."""
    name: str = ""
    """What model cards call the data; the source's file name unless given."""
    licence: str = "not stated"
    """Terms of the data, kept with what is trained on it."""


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data, PAD before every piece; InputError, with nothing written, if a file cannot be used."""
    tokenizer = MidiTokenizer()
    builtin = config.source == BUILTIN
    info = DatasetInfo(
        modality="music",
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report="nats per event",
        source="piano pieces composed by waveletgpt" if builtin else config.name or Path(config.source).name,
        licence="CC0 1.0" if builtin else config.licence,
    )
    with opened_source(config.source, write_pieces) as path:
        files = files_under(path, SUFFIXES)
        split_of = split_by_csv(path) or split_by_size({file.as_posix(): file.stat().st_size for file in files})
        files = [file for file in files if file.as_posix() in split_of]
        with (
            ProcessPoolExecutor(os.cpu_count()) as pool,
            progress_bar("encoding performances", len(files)) as advance,
        ):

            def encoded(split: str) -> Iterator[Tensor]:
                chosen = [file for file in files if split_of[file.as_posix()] == split]
                for ids in pool.map(_encode, chosen, chunksize=4):
                    yield torch.cat([tokenizer.start, torch.from_numpy(ids)])

            return write_dataset(config.out, info, {split: encoded(split) for split in SPLITS}, advance)


def split_by_csv(path: Path) -> dict[str, str]:
    """Which split each file below the folder `path` is in, by the csv there; empty if there is none."""
    for table in sorted(path.rglob("[!.]*.csv")) if path.is_dir() else []:
        try:
            with table.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file, restval=""))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{table.name} cannot be read as a csv: {error}") from None
        if not rows or not {"midi_filename", "split"} <= set(rows[0]):
            continue
        splits = {}
        for row in rows:
            midi = table.parent / row["midi_filename"]
            if row["split"] not in SPLIT_NAMES:
                raise InputError(f"{table.name} has the split {row['split']!r}; known are {', '.join(SPLIT_NAMES)}")
            if not midi.is_file():
                raise InputError(f"{table.name} names {row['midi_filename']}, which is not there")
            splits[midi.as_posix()] = SPLIT_NAMES[row["split"]]
        return splits
    return {}


def _encode(file: Path) -> NDArray[np.int64]:
    torch.set_num_threads(1)
    # An array, because a tensor would come through shared memory, one open file each.
    ids: NDArray[np.int64] = MidiTokenizer().encode(file).numpy()
    return ids


def write_pieces(folder: Path) -> None:
    """Write piano pieces composed here as MIDI files."""
    for seed in range(BUILTIN_PIECES):
        write_midi(folder / f"{seed:03}.mid", compose(seed, BUILTIN_SECONDS))


def main() -> None:
    """Read the command line and prepare."""
    config = parse(Config, description=__doc__)
    info = prepare(config)
    counts = (f"{f['pieces']:,} pieces, {f['tokens']:,} events {split}" for split, f in info.splits.items())
    print(f"{config.out}: " + "; ".join(counts))


if __name__ == "__main__":
    run_command(main)
