"""Prepare audio: recordings to 8-bit mu-law samples, split by file, 88/6/6 by duration."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.audio_file import audio_seconds, read_audio, write_wav
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.soundfont import render
from waveletgpt.training.data import SPLITS, DatasetInfo, write_dataset
from waveletgpt.training.pieces import compose
from waveletgpt.training.progress import progress_bar
from waveletgpt.training.source import BUILTIN, files_under, opened_source
from waveletgpt.training.splits import split_by_size

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
BUILTIN_PIECES, BUILTIN_SECONDS = 10, 8.0


@dataclass(frozen=True)
class Config:
    """Recordings to 8-bit mu-law samples, split by file: 88/6/6 by duration."""

    source: str
    """A recording, a folder or archive of them (WAV, FLAC, OGG, MP3, AIFF), a URL of one, or `builtin`: piano
    pieces that this project composes and renders, to try things with no data at hand."""
    out: Path
    """Directory to write."""
    sample_rate: int = 16_000
    """Samples a second; recordings at other rates are resampled."""
    keep_together: tuple[str, ...] = ()
    """Files that are excerpts of one recording, so that they stay on one side of the split: names without their
    suffix, joined by commas, one argument a recording."""
    name: str = ""
    """What model cards call the data; the source's name unless given."""
    licence: str = "not stated"
    """Terms of the data, kept with what is trained on it."""


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data; InputError, with nothing written, if a file cannot be used."""
    tokenizer = MuLawTokenizer(config.sample_rate)
    builtin = config.source == BUILTIN
    info = DatasetInfo(
        modality="audio",
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report="bits per sample",
        source="piano pieces composed and rendered by waveletgpt"
        if builtin
        else config.name or Path(config.source).name,
        licence="CC0 1.0" if builtin else config.licence,
    )
    with opened_source(config.source, write_pieces) as path:
        files = files_under(path, SUFFIXES)
        seconds = {file.stem: audio_seconds(file) for file in files}
        if len(seconds) < len(files):
            raise InputError(f"{config.source} holds files that differ in their folder or suffix alone; rename them")
        split_of = split_by_size(seconds, [frozenset(group.split(",")) for group in config.keep_together])

        def encoded(split: str) -> Iterator[Tensor]:
            for file in files:
                if split_of[file.stem] == split:
                    yield tokenizer.encode(read_audio(file, config.sample_rate))

        with progress_bar("encoding recordings", len(files)) as advance:
            return write_dataset(config.out, info, {split: encoded(split) for split in SPLITS}, advance)


def write_pieces(folder: Path) -> None:
    """Write a few short piano pieces, composed and rendered here, as WAV files."""
    for seed in range(BUILTIN_PIECES):
        write_wav(folder / f"{seed}.wav", render(compose(seed, BUILTIN_SECONDS), 16_000), 16_000)


def main() -> None:
    """Read the command line and prepare."""
    config = parse(Config, description=__doc__)
    info = prepare(config)
    seconds = {split: facts["tokens"] / config.sample_rate for split, facts in info.splits.items()}
    print(f"{config.out}: " + ", ".join(f"{length:,.1f} s {split}" for split, length in seconds.items()))


if __name__ == "__main__":
    run_command(main)
