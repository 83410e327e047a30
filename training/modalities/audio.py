"""Audio: a sample is half a second in a WAV file."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from waveletgpt.training.modalities.base import TrainingModality

if TYPE_CHECKING:
    from waveletgpt.tokenizers.mulaw import MuLawTokenizer
    from waveletgpt.training.data import Dataset
    from waveletgpt.training.quality.measures import Measures

SECONDS = 0.5
CLIP_SECONDS = 2.0
"""Length of the clips that are measured."""


def write(path: Path, tokenizer: "MuLawTokenizer", ids: Tensor) -> None:
    """Write the waveform of `ids` (S,)."""
    from waveletgpt.tokenizers.audio.audio_file import write_wav  # noqa: PLC0415, see TrainingModality

    write_wav(path, tokenizer.decode(ids), tokenizer.sample_rate)


def measures(tokenizer: "MuLawTokenizer", dataset: "Dataset") -> "Measures":  # noqa: ARG001
    """Measures of sound."""
    from waveletgpt.training.quality.audio import AudioMeasures  # noqa: PLC0415, see TrainingModality

    return AudioMeasures(tokenizer)


TRAINING_MODALITY = TrainingModality(
    suffix=".wav",
    sample_tokens=lambda tokenizer: round(SECONDS * tokenizer.sample_rate),
    write=write,
    measures=measures,
    passage_tokens=lambda tokenizer: round(CLIP_SECONDS * tokenizer.sample_rate),
)
