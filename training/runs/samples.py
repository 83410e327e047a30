"""Samples: what the model generates at each evaluation, in RUN/samples/step-001000.txt, .wav or .mid.

Samples have no prompt and always use the same seed. So two samples of different steps or mixers differ only because the
models differ.
"""

from pathlib import Path
from typing import Any

import torch

from waveletgpt.common.modalities import find_modality
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict
from waveletgpt.training.modalities.base import load_training_modality

SEED = 0


def write_sample(
    directory: Path, step: int, model: GPT, *, modality: str, tokenizer: dict[str, Any], tokens: int | None
) -> Path:
    """Generate a sample and write it to `directory`.

    Args:
        directory: where samples are written.
        step: training step, which names the file.
        model: the model to sample from.
        modality: name of the kind of data.
        tokenizer: the tokenizer's description.
        tokens: length of the sample; None for the default of the kind of data.

    Returns:
        The file.

    Raises:
        InputError: unknown kind of data or tokenizer.
        ImportError: a library that the medium needs is not installed.
    """
    record, training = find_modality(modality), load_training_modality(modality)
    built: Tokenizer = tokenizer_from_dict(tokenizer)
    steps = generate(
        model,
        built.start[None],
        training.sample_tokens(built) if tokens is None else tokens,
        temperature=record.temperature,
        top_p=record.top_p,
        min_p=record.min_p,
        seed=SEED,
    )
    path = directory / f"step-{step:06d}{training.suffix}"
    training.write(path, built, torch.cat([drawn.ids for drawn in steps]))
    return path


def has_sample(directory: Path, step: int) -> bool:
    """Whether the sample of `step` exists."""
    return any(directory.glob(f"step-{step:06d}.*"))
