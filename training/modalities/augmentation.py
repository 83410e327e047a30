"""Augmentation: training windows changed into others that the data might as well have held.

How a window is changed is a function of (seed, step, its place in the global batch) alone: the same for every model,
however many processes share the work, and after an interruption. Held-out data are never changed.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.int64]
"""Token ids (B, T + 1): inputs, and the target of the last."""

KINDS = {"music": "waveletgpt.training.modalities.augment_music"}
"""By modality, where its `augment` is: given the tokenizer's description, it returns a function from windows and
uniform draws (B, DRAWS) to windows. Other modalities are left as they are."""
DRAWS = 2
"""Random numbers that a window's augmentation may use."""


class Augmentation(Protocol):
    """Changes windows; `places` are theirs in the global batch of `step`."""

    def __call__(self, windows: Windows, step: int, places: Sequence[int]) -> Windows:
        """New windows of the same shape."""


def augmentation(modality: str, tokenizer: dict[str, Any], seed: int) -> Augmentation:
    """How windows of a modality are augmented, if at all; `tokenizer` is its description in dataset.json.

    Raises InputError if the augmentation does not know that tokenizer's ids.
    """
    if modality not in KINDS:
        return unchanged
    change: Callable[[Windows, NDArray[np.float64]], Windows] = import_module(KINDS[modality]).augment(tokenizer)

    def augment(windows: Windows, step: int, places: Sequence[int]) -> Windows:
        return change(windows, draws(seed, step, places))

    return augment


def unchanged(windows: Windows, step: int, places: Sequence[int]) -> Windows:  # noqa: ARG001
    """No augmentation."""
    return windows


def draws(seed: int, step: int, places: Sequence[int]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), (len(places), DRAWS), each row a function of (seed, step, place)."""
    # Of this seed and step, the order of the data has no spawn_key and dropout those from 1 on.
    stream = np.random.Philox(np.random.SeedSequence([seed, step], spawn_key=(0,)))
    rows = np.random.Generator(stream).random((max(places, default=-1) + 1, DRAWS))
    return rows[list(places)]
