"""How surprising tokens were, as colours: none for what was expected, strong for what was not."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.app.drawing.svg import Panel, gradient, image

MOST_BITS = 8.0
"""Surprise of the strongest colour, and above."""
LEVELS = 8
"""Number of colours; level i has the CSS class `s<i>`."""
HEAT = gradient(((18, 22, 38), (122, 48, 74), (214, 96, 40), (255, 214, 110)), 64)
COLUMNS = 1000


def in_levels(surprise: Tensor) -> NDArray[np.uint8]:
    """The colours (N,) of surprise (N,) in nats, from 0 to LEVELS - 1."""
    bits = surprise.numpy() / math.log(2)
    return (bits / MOST_BITS * LEVELS).clip(0, LEVELS - 1).astype(np.uint8)


def heat_band(surprise: Tensor, begin: float, end: float, seconds: float) -> str:
    """A band with the mean surprise of each column.

    Args:
        surprise: (N,) nats of the tokens.
        begin: seconds at which they begin.
        end: seconds at which they end.
        seconds: length of the time axis.
    """
    panel = Panel("heat", seconds, (0, 1), 10)
    if not len(surprise):
        return panel.draw([], [(0.5, "surprise")])
    size = -(-len(surprise) // COLUMNS)  # tokens per column
    starts = np.arange(0, len(surprise), size)
    sums = np.add.reduceat(surprise.numpy(), starts)
    bits = sums / np.diff(starts, append=len(surprise)) / math.log(2)
    colours = (bits / MOST_BITS * (len(HEAT) - 1)).clip(0, len(HEAT) - 1).round().astype(np.uint8)
    picture = image(panel, end - begin, colours[None], HEAT)
    return panel.draw([f'<g transform="translate({panel.x(begin):.1f})">{picture}</g>'], [(0.5, "surprise")])
