"""What the model generates at each evaluation, to be read, heard or seen: RUN/samples/step-001000.txt, .wav or .mid.

Every sample begins from nothing and is drawn with the same noise, so that what differs between two of them, of other
steps or of other mixers, is what the models learned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict

SEED = 0

KINDS = {
    "text": "waveletgpt.training.modalities.sample_text",
    "audio": "waveletgpt.training.modalities.sample_audio",
    "music": "waveletgpt.training.modalities.sample_music",
}
"""By modality, where its `SAMPLE` is. Imported on demand: training itself needs no library for any medium."""


@dataclass(frozen=True)
class SampleKind:
    """How a kind of data is sampled and written."""

    suffix: str
    temperature: float
    tokens: Callable[[Any], int]
    """Given the tokenizer, how many tokens a sample has unless --sample-tokens says so."""
    write: Callable[[Path, Any, Tensor], None]
    """Write to a path, with the tokenizer, what ids (S,) stand for; atomically."""


def write_sample(
    directory: Path, step: int, model: GPT, *, modality: str, tokenizer: dict[str, Any], tokens: int | None
) -> Path:
    """Write what `model` generates after `step`; `tokenizer` is its description. Returns the file.

    Raises InputError for a modality without samples, ImportError if a library for it is not installed.
    """
    if modality not in KINDS:
        raise InputError(f"samples of {modality} cannot be written; known are {', '.join(KINDS)}")
    kind: SampleKind = import_module(KINDS[modality]).SAMPLE
    built: Tokenizer = tokenizer_from_dict(tokenizer)
    length = kind.tokens(built) if tokens is None else tokens
    steps = generate(model, built.start[None], length, temperature=kind.temperature, seed=SEED)
    path = directory / f"step-{step:06d}{kind.suffix}"
    kind.write(path, built, torch.cat([drawn.ids for drawn in steps]))
    return path


def has_sample(directory: Path, step: int) -> bool:
    """Whether the sample of `step` has been written."""
    return any(directory.glob(f"step-{step:06d}.*"))
