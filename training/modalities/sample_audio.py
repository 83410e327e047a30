"""A sample of audio: half a second, as WAV."""

from pathlib import Path

from torch import Tensor

from waveletgpt.tokenizers.audio.audio_file import write_wav
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.runs.samples import SampleKind

SECONDS = 0.5


def write(path: Path, tokenizer: MuLawTokenizer, ids: Tensor) -> None:
    """Write the waveform of `ids`."""
    write_wav(path, tokenizer.decode(ids), tokenizer.sample_rate)


SAMPLE = SampleKind(
    suffix=".wav", temperature=0.85, tokens=lambda tokenizer: round(SECONDS * tokenizer.sample_rate), write=write
)
