"""Augmentation: changes training windows into other plausible ones. Validation and test data stay unchanged.

How a window changes depends only on the seed, the step and the window's index in the global batch. So every model sees
the same data, with any number of processes, and after a resume too.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from waveletgpt.training.modalities.base import Draws, Pair, Windows, load_training_modality, pair

DRAWS = 2
"""Random numbers that augmenting one window may use."""


class Augmentation(Protocol):
    """Augments windows (B, T + 1). `places` are their indices in the global batch of `step`."""

    def __call__(self, windows: Windows, step: int, places: Sequence[int]) -> Pair:
        """Inputs and targets, (B, T) each."""


def augmentation(modality: str, tokenizer: dict[str, Any], seed: int) -> Augmentation:
    """The augmentation of a kind of data; one that changes nothing if the kind has none.

    Args:
        modality: name of the kind of data.
        tokenizer: its tokenizer's description in dataset.json.
        seed: decides all random changes.

    Raises:
        InputError: unknown kind of data, or the augmentation does not know that tokenizer's ids.
    """
    augment = load_training_modality(modality).augment
    if augment is None:
        return unchanged
    change = augment(tokenizer)

    def augmented(windows: Windows, step: int, places: Sequence[int]) -> Pair:
        return change(windows, draws(seed, step, places))

    return augmented


def unchanged(windows: Windows, step: int, places: Sequence[int]) -> Pair:  # noqa: ARG001
    """No augmentation."""
    return pair(windows)


def draws(seed: int, step: int, places: Sequence[int]) -> Draws:
    """Uniform numbers in [0, 1), (len(places), DRAWS). Each row depends only on seed, step and place."""
    # The data order uses this seed and step without a spawn key; dropout uses spawn keys from 1 on.
    stream = np.random.Philox(np.random.SeedSequence([seed, step], spawn_key=(0,)))
    rows = np.random.Generator(stream).random((max(places, default=-1) + 1, DRAWS))
    return rows[list(places)]
