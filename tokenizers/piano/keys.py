"""From the messages of a MIDI file to its notes: which release ends which strike, and what the pedals hold."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from waveletgpt.tokenizers.piano.pedal import SUSTAIN, held_ends
from waveletgpt.tokenizers.piano.smf import CONTROL, MAX_TICK, MidiFile

DRUMS = 9  # channel 10, counted from 1
SOUND_OFF, RESET, NOTES_OFF = 120, 121, 123  # controllers; those above NOTES_OFF end notes too (MIDI 1.0 specification)

Array = NDArray[np.int64]


def sounding_notes(file: MidiFile) -> Array:
    """Compute the notes of all channels except the drums', with the pedal of each channel applied.

    Pedals and all-notes-off act on their channel in all tracks. A release ends a strike in its own track, the earliest
    one if a key was struck twice. A note that is never released ends when its key is struck again, at the next
    all-notes-off, or with its track. All-sound-off also ends what the pedal holds.

    Returns:
        (4, N) onset and end in ticks, pitch, velocity.
    """
    struck = {*file.channel[file.struck].tolist()} - {DRUMS}
    return np.concatenate([np.empty((4, 0), np.int64), *(_channel_notes(file, channel) for channel in struck)], axis=1)


def _channel_notes(file: MidiFile, channel: int) -> Array:
    here = file.channel == channel
    tick, track, struck, (first, second) = file.tick[here], file.track[here], file.struck[here], file.data[:, here]
    control = file.kind[here] == CONTROL
    pedal = control & ((first == SUSTAIN) | (first == RESET))
    sound_off = control & (first == SOUND_OFF)
    all_off = tick[sound_off | control & (first >= NOTES_OFF)]

    part = track * (len(all_off) + 1) + np.searchsorted(all_off, tick, side="right")
    released = _release_times(tick[~control], (part * 128 + first)[~control], struck[~control])
    onset = tick[struck]
    end = np.minimum(np.minimum(released, _next(all_off, onset)), file.track_end[track[struck]])
    end = held_ends(end, tick[pedal], np.where(first == RESET, 0, second)[pedal])
    return np.stack([onset, np.minimum(end, _next(tick[sound_off], onset)), first[struck], second[struck]])


def _release_times(tick: Array, key: Array, struck: NDArray[np.bool_]) -> Array:
    """When each strike is released, in ticks; if never, when its key is struck again; if never, MAX_TICK.

    A strike without a release is found as an opening bracket without a closing one. The others of a key are released in
    their order.

    Args:
        tick: (M,) times of strikes and releases, in ascending order.
        key: (M,) equal for what belongs together.
        struck: (M,) whether it is a strike.

    Returns:
        (N,) for each of the N strikes.
    """
    open_strikes: defaultdict[int, list[int]] = defaultdict(list)
    closed, closing = [], []
    for i, (number, strike) in enumerate(zip(key.tolist(), struck.tolist(), strict=True)):
        if strike:
            open_strikes[number].append(i)
        elif open_strikes[number]:
            closed.append(open_strikes[number].pop())
            closing.append(i)
    strikes = _by_key(np.flatnonzero(struck), key)
    again = key[strikes[:-1]] == key[strikes[1:]]
    end = np.full(len(tick), MAX_TICK)
    end[strikes[:-1][again]] = tick[strikes[1:][again]]
    end[_by_key(np.array(closed, np.int64), key)] = tick[_by_key(np.array(closing, np.int64), key)]
    return end[struck]


def _by_key(events: Array, key: Array) -> Array:
    """Indices of events, sorted by key, then time."""
    return events[np.lexsort((events, key[events]))]


def _next(times: Array, after: Array) -> Array:
    """The first of the ascending `times` after each of `after`, or MAX_TICK."""
    return np.append(times, MAX_TICK)[np.searchsorted(times, after, side="right")]
