"""The sustain pedal, folded into the ends of the notes that it holds."""

import numpy as np
from numpy.typing import NDArray

DOWN = 64  # controller 64 at this value or above: the dampers are off the strings (MIDI 1.0 specification)

Array = NDArray[np.int64]


def held_ends(ends: Array, times: Array, values: Array) -> Array:
    """Return where notes stop sounding under the pedal.

    A note that ends while the pedal is down sounds on until the pedal comes up; a pedal that never does
    holds to the last of all the ends and pedal events. Where the same pitch is struck again in the
    meantime, the two notes overlap in what is returned.

    Args:
        ends: (N,) where the keys are released, in any unit of time.
        times: (P,) when controller 64 is sent, in the same unit. Events at one time act in their order.
        values: (P,) the values sent, 0 to 127.

    Returns:
        (N,) where the notes stop sounding, none before its key is released.
    """
    if not len(ends) or not len(times):
        return ends
    order = np.argsort(times, kind="stable")
    times, down = times[order], values[order] >= DOWN
    never = max(ends.max(), times[-1])
    releases = np.minimum.accumulate(np.where(down, never, times)[::-1])[::-1]  # (P,) the next one from each
    latest = np.searchsorted(times, ends, side="right") - 1  # (N,) the event in force at each end, or -1
    held = (latest >= 0) & down[latest]
    return np.where(held, releases[latest], ends)
