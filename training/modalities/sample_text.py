"""A sample of text: 500 characters, as UTF-8."""

from pathlib import Path

from torch import Tensor

from waveletgpt.common.files import write_text
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.runs.samples import SampleKind


def write(path: Path, tokenizer: CharacterTokenizer, ids: Tensor) -> None:
    """Write the text of `ids`, ending with a newline."""
    write_text(path, tokenizer.decode(ids) + "\n")


SAMPLE = SampleKind(suffix=".txt", temperature=0.8, tokens=lambda _: 500, write=write)
