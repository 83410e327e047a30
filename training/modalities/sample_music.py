"""A sample of music: 500 events, as MIDI."""

from pathlib import Path

from torch import Tensor

from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.training.runs.samples import SampleKind


def write(path: Path, tokenizer: MidiTokenizer, ids: Tensor) -> None:
    """Write the piece that `ids` play."""
    write_midi(path, tokenizer.decode(ids))


SAMPLE = SampleKind(suffix=".mid", temperature=1.0, tokens=lambda _: 500, write=write)
