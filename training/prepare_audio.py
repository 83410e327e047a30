"""Prepare audio: recordings to 8-bit mu-law samples, split by file, 88/6/6 by duration."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from torch import Tensor

from waveletgpt.common.errors import run_command
from waveletgpt.common.modalities import AUDIO
from waveletgpt.tokenizers.audio.audio_file import audio_blocks, write_wav
from waveletgpt.tokenizers.audio.waveform import check_rates
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.piano.soundfont import render
from waveletgpt.training.data import DatasetInfo, check_replaceable
from waveletgpt.training.preparing.command import PrepareConfig, prepare_command
from waveletgpt.training.preparing.composing import compose, compose_melody
from waveletgpt.training.preparing.encoding import encode_files, mention_skipped, write_whole_pieces
from waveletgpt.training.preparing.source import opened_source
from waveletgpt.training.preparing.splits import split_by_size
from waveletgpt.training.preparing.work import work_folder

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
BUILTIN_PIECES, BUILTIN_SECONDS = 10, 8.0
MELODIES, MELODY_SECONDS, MELODY_RATE = 300, 30.0, 8000
MELODY_END = 0.02
"""A melody ends where no later sample exceeds this: what is silent for long teaches a model to stay silent."""


@dataclass(frozen=True)
class Config(PrepareConfig):
    """Recordings to 8-bit mu-law samples, split by file: 88/6/6 by duration."""

    source: str
    """A folder or archive of recordings (WAV, FLAC, OGG, MP3, AIFF), a URL of one, or `builtin`: piano pieces that
    this project composes and renders, to try things without data."""
    sample_rate: int = 16_000
    """Samples per second; recordings at other rates are resampled."""
    builtin: Literal["pieces", "melodies"] = "pieces"
    """What --source builtin makes: pieces are ten short ones, which tests need; melodies are 300 of 30 s, one note at a
    time, from which a small model learns to hold notes."""
    keep_together: tuple[str, ...] = ()
    """Files that are excerpts of one recording and must go to the same split: names without suffix, joined by
    commas, one argument per recording."""


def prepare(config: Config) -> DatasetInfo:
    """Write the prepared data, and return what is in dataset.json. Files that cannot be read are listed there.

    Raises:
        InputError: the source cannot be used. Nothing is written.
    """
    tokenizer = MuLawTokenizer(config.sample_rate)
    check_rates(config.sample_rate)
    check_replaceable(config.out)
    info = DatasetInfo(
        modality=AUDIO.name,
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report=AUDIO.loss_unit,
        **config.provenance(f"piano {config.builtin} composed and rendered by waveletgpt", "CC0 1.0"),
    )
    groups = [frozenset(group.split(",")) for group in config.keep_together]
    with (
        work_folder(config.out) as work,
        config.processes() as workers,
        opened_source(config.source, SUFFIXES, EXAMPLES[config.builtin], work, trusted=config.trust_archive) as files,
    ):
        short = short_names([file.name for file in files])
        split_by_size(dict.fromkeys(short.values(), 1.0), groups)  # to fail before reading if there are too few
        encode = partial(encode_recording, sample_rate=config.sample_rate, scratch=work.scratch)
        pieces, skipped = encode_files(files, encode, info, work, workers)
        lengths = {short[piece.name]: piece.tokens for piece in pieces}
        with mention_skipped(skipped):
            splits = split_by_size(lengths, [frozenset(group & lengths.keys()) for group in groups])
        split_of = {piece.name: splits[short[piece.name]] for piece in pieces}
        return write_whole_pieces(config.out, info, pieces, split_of, skipped=skipped)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The name of each file in --keep-together: without folder and suffix, unless two files share that name."""
    shared = Counter(PurePosixPath(name).stem for name in names)
    return {name: stem if shared[stem := PurePosixPath(name).stem] == 1 else name for name in names}


def encode_recording(path: Path, sample_rate: int, scratch: Path) -> Iterator[Tensor]:
    """The samples of a recording, block by block."""
    return map(MuLawTokenizer(sample_rate).encode, audio_blocks(path, sample_rate, scratch=scratch))


def write_examples(folder: Path) -> None:
    """Write a few short piano pieces, composed and rendered here, as WAV files."""
    for seed in range(BUILTIN_PIECES):
        write_wav(folder / f"{seed}.wav", render(compose(seed, BUILTIN_SECONDS), 16_000), 16_000)


def write_melodies(folder: Path) -> None:
    """Write many melodies, composed and rendered here, as WAV files at 8 kHz."""
    for seed in range(MELODIES):
        sound = render(compose_melody(seed, MELODY_SECONDS), MELODY_RATE)
        sound *= 0.5 / sound.abs().max()
        heard = int((sound.abs() > MELODY_END).nonzero().max()) + 1
        write_wav(folder / f"{seed:04}.wav", sound[:heard], MELODY_RATE)


EXAMPLES: dict[str, Callable[[Path], None]] = {"pieces": write_examples, "melodies": write_melodies}


def summary(config: Config, info: DatasetInfo) -> str:
    """The seconds in each split."""
    seconds = {split: facts["tokens"] / config.sample_rate for split, facts in info.splits.items()}
    return ", ".join(f"{length:,.1f} s {split}" for split, length in seconds.items())


def main() -> None:
    """Run the command."""
    prepare_command(Config, prepare, summary, __doc__ or "")


if __name__ == "__main__":
    run_command(main)
