"""Text: a sample is 500 characters in a UTF-8 file."""

from pathlib import Path

from torch import Tensor

from waveletgpt.common.files import write_text
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import Dataset
from waveletgpt.training.modalities.base import TrainingModality
from waveletgpt.training.quality.text import TextMeasures, vocabulary_of


def write(path: Path, tokenizer: CharacterTokenizer, ids: Tensor) -> None:
    """Write the text of `ids` (S,) and a newline."""
    write_text(path, tokenizer.decode(ids) + "\n")


def measures(tokenizer: CharacterTokenizer, dataset: Dataset) -> TextMeasures:
    """Measures of text. Known words are those of the training split."""
    return TextMeasures(tokenizer, vocabulary_of(tokenizer, dataset.tokens("train")))


TRAINING_MODALITY = TrainingModality(
    suffix=".txt",
    sample_tokens=lambda _: 500,
    write=write,
    measures=measures,
    passage_tokens=lambda _: 2000,
    quote=CharacterTokenizer.decode,
    pipeline_tag="text-generation",
)
