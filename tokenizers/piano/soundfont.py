"""Renders piano scores as sound, from the samples of the General MIDI SoundFont in pretty-midi's wheel."""

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano.performance import STEPS_PER_SECOND, Score, perform
from waveletgpt.tokenizers.piano.sf2 import Zone, read_zones

RELEASE = 0.25  # seconds from key up to silence
RING = 30.0  # seconds after which a held note is treated as silent
GAIN = 2.0  # an average performance then peaks at 0.6 to 0.9

Samples = NDArray[np.float32]


def render(score: Score, sample_rate: int) -> Tensor:
    """Render `score` on one piano, as `perform` plays it. Without notes the result is 0.25 s of silence.

    Loudness is fixed, so that pieces stay comparable. Only a result that would clip is scaled down.

    Args:
        score: any score.
        sample_rate: of the result, in Hz.

    Returns:
        Waveform (S,) float32 in [-1, 1], up to 0.25 s after the last note.

    Raises:
        InputError: the sample rate is not positive, or `perform` refuses the score.
    """
    if sample_rate <= 0:
        raise InputError(f"sample rate {sample_rate}: must be above 0 Hz")
    tail, ring = math.ceil(RELEASE * sample_rate), math.ceil(RING * sample_rate)
    if not any(len(track.notes) for track in score.tracks):
        return torch.zeros(tail)
    notes = perform(score).tracks[0].notes.numpy()
    pitches, loudness = notes["pitch"], (notes["velocity"] / 127) ** 2  # default curve of the specification
    starts = notes["time"].astype(np.int64) * sample_rate // STEPS_PER_SECOND
    lengths = notes["duration"].astype(np.int64) * sample_rate // STEPS_PER_SECOND
    audio = np.zeros((starts + lengths).max() + tail, np.float32)
    lengths = np.minimum(lengths, ring)
    for pitch in np.unique(pitches):
        zone = _zone(int(pitch))
        played = np.flatnonzero(pitches == pitch)
        tone = _tone(zone, int(pitch), sample_rate, int(lengths[played].max()) + tail)
        damper = np.linspace(1, 0, tail) * 10 ** (-zone.release * np.arange(tail) / sample_rate / 20)
        for note in played:
            start, length = starts[note], lengths[note]
            sound = tone[: length + tail] * np.float32(GAIN * loudness[note])
            sound[length:] *= damper
            audio[start : start + len(sound)] += sound
    return torch.from_numpy(audio / max(1.0, float(np.abs(audio).max())))


def _tone(zone: Zone, pitch: int, sample_rate: int, length: int) -> Samples:
    """Sound of a key at full velocity that stays down, (length,)."""
    start, end = zone.loop
    position = np.arange(length) * (zone.sample_rate / sample_rate * 2 ** ((pitch - zone.root) / 12))
    position = np.where(position < end, position, start + (position - start) % (end - start))
    index = position.astype(np.int64)
    fraction = (position - index).astype(np.float32)
    wave = zone.samples[index] * (1 - fraction) + zone.samples[index + 1] * fraction
    time = np.arange(length, dtype=np.float32) / sample_rate
    decibels = -zone.attenuation - zone.decay * np.maximum(time - zone.hold, 0)
    return np.asarray(_low_pass(wave, zone.cutoff / sample_rate) * 10 ** (decibels / 20), np.float32)


def _low_pass(wave: Samples, cutoff: float) -> Samples:
    """Second-order Butterworth filter. `cutoff` is in cycles per sample."""
    size = 1 << (len(wave) + 1024).bit_length()  # leaves room for the filter to decay
    frequency = np.fft.rfftfreq(size) / cutoff
    response = 1 / (1 + math.sqrt(2) * 1j * frequency - frequency**2)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)].astype(np.float32)


def _zone(pitch: int) -> Zone:
    """The zone that plays `pitch`, or the nearest one outside the piano's keys."""
    return min(_piano(), key=lambda zone: max(zone.low - pitch, pitch - zone.high, 0))


@lru_cache(maxsize=1)
def _piano() -> list[Zone]:
    """Program 0 of the SoundFont in pretty-midi's wheel. Does not import pretty-midi."""
    spec = find_spec("pretty_midi")
    path = Path(spec.origin if spec and spec.origin else "pretty_midi").with_name("TimGM6mb.sf2")
    try:
        return read_zones(path.read_bytes(), program=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); pip install pretty-midi") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; reinstall pretty-midi") from None
