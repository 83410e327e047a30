"""Applies the sustain pedal: notes that it holds end later."""

import numpy as np
from numpy.typing import NDArray

SUSTAIN = 64  # controller
DOWN = 64  # its lowest value that means down (MIDI 1.0 specification)

Array = NDArray[np.int64]


def held_ends(ends: Array, times: Array, values: Array) -> Array:
    """Compute when notes stop sounding.

    A note whose key comes up while the pedal is down sounds until the pedal comes up. If the pedal never comes up, the
    note sounds until the last key or pedal event. Notes of one pitch may overlap in the result.

    Args:
        ends: (N,) times when keys come up, in any unit.
        times: (P,) times of controller 64, in the same unit. Events with equal times apply in their order.
        values: (P,) values of controller 64, 0 to 127.

    Returns:
        (N,) times when notes stop sounding, each at or after its key comes up.
    """
    if not len(ends) or not len(times):
        return ends
    order = np.argsort(times, kind="stable")
    times, down = times[order], values[order] >= DOWN
    never = max(ends.max(), times[-1])
    releases = np.minimum.accumulate(np.where(down, never, times)[::-1])[::-1]  # (P,) next release from each event on
    latest = np.searchsorted(times, ends, side="right") - 1  # (N,) last event at or before each end, or -1
    held = (latest >= 0) & down[latest]
    return np.where(held, releases[latest], ends)
