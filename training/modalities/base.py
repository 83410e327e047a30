"""The interface between training and one kind of data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.modalities import find_modality
from waveletgpt.training.data import Dataset
from waveletgpt.training.quality.measures import Measures

Windows = NDArray[np.int64]
"""Token ids (B, T)."""
Pair = tuple[Windows, Windows]
"""What a model reads, and what it shall predict at each place, (B, T) each."""
Draws = NDArray[np.float64]
"""Uniform random numbers in [0, 1), (B, 2): two for each window."""


@dataclass(frozen=True)
class TrainingModality:
    """What training can do with one kind of data.

    Training must also run where the kind's media libraries are not installed, so `write` and `measures` import
    them when called.
    """

    suffix: str
    """Of sample files."""
    sample_tokens: Callable[[Any], int]
    """From the tokenizer to the length of a sample, in tokens, unless --sample-tokens sets it."""
    write: Callable[[Path, Any, Tensor], None]
    """Given a path, the tokenizer and ids (S,), writes the decoded ids atomically."""
    measures: Callable[[Any, Dataset], Measures] | None = None
    """From the tokenizer and the prepared data to the measures of samples; None if this kind has none."""
    passage_tokens: Callable[[Any], int] = lambda _: 1000
    """From the tokenizer to the length, in tokens, of the samples and passages that are measured."""
    unit_tokens: Callable[[Any], int] = lambda _: 1
    """From the tokenizer to the number of tokens in one `Modality.unit` of length."""
    quote: Callable[[Any, Tensor], str] | None = None
    """From the tokenizer and ids (S,) to the text that a model card quotes; None if samples cannot be read."""
    pipeline_tag: str | None = None
    """Task of these models on the Hugging Face Hub, if it has one that fits."""
    augment: Callable[[dict[str, Any]], Callable[[Windows, Draws], Pair]] | None = None
    """From the tokenizer's description to a function from windows (B, T + 1) to augmented inputs and targets; None if
    this kind is never augmented. Raises InputError if that tokenizer's ids are unknown."""


def pair(windows: Windows) -> Pair:
    """Windows (B, T + 1) as inputs and targets: the model shall predict the next token."""
    return windows[:, :-1], windows[:, 1:]


def load_training_modality(name: str) -> TrainingModality:
    """Import `training/modalities/<name>.py`. Raises InputError for an unknown name."""
    loaded: TrainingModality = find_modality(name).module("training/modalities").TRAINING_MODALITY
    return loaded
