"""Text: a sample is 500 characters in a UTF-8 file."""

from pathlib import Path

from torch import Tensor

from waveletgpt.common.files import write_text
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.modalities.base import TrainingModality


def write(path: Path, tokenizer: CharacterTokenizer, ids: Tensor) -> None:
    """Write the text of `ids` (S,) and a newline."""
    write_text(path, tokenizer.decode(ids) + "\n")


TRAINING_MODALITY = TrainingModality(suffix=".txt", sample_tokens=lambda _: 500, write=write)
