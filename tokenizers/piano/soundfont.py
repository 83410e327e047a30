"""Piano scores as sound, by sampling synthesis from the General MIDI SoundFont that pretty-midi ships."""

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

RELEASE = 0.25  # seconds from a key's release to silence
RING = 30.0  # seconds after which a string still held is taken to be silent
GAIN = 2.0  # a performance of ordinary loudness then peaks at 0.6 to 0.9

Samples = NDArray[np.float32]


def render(score: Score, sample_rate: int) -> Tensor:
    """Return `score` as the piano sounds, mono float32 (S,) in [-1, 1].

    It is heard as `perform` plays it: every track on one piano, with its tempo and its sustain pedal. S
    reaches 0.25 s beyond the end of the last note. The loudness is fixed, so that pieces compare; only
    what would clip is turned down. Without notes there are 0.25 s of silence.

    Raises:
        InputError: the sample rate is not positive, or `perform` refuses the score.
    """
    if sample_rate <= 0:
        raise InputError(f"sample rate {sample_rate}: must be positive, in samples a second")
    tail, ring = math.ceil(RELEASE * sample_rate), math.ceil(RING * sample_rate)
    if not any(len(track.notes) for track in score.tracks):
        return torch.zeros(tail)
    notes = perform(score).tracks[0].notes.numpy()
    pitches, loudness = notes["pitch"], (notes["velocity"] / 127) ** 2  # the specification's default curve
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
    """A key struck at full velocity and held, (length,)."""
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
    """A Butterworth filter of second order; `cutoff` in cycles a sample."""
    size = 1 << (len(wave) + 1024).bit_length()  # with room for the response to die away
    frequency = np.fft.rfftfreq(size) / cutoff
    response = 1 / (1 + math.sqrt(2) * 1j * frequency - frequency**2)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)].astype(np.float32)


def _zone(pitch: int) -> Zone:
    """The zone that sounds `pitch`; beyond the piano's keys, the nearest."""
    return min(_piano(), key=lambda zone: max(zone.low - pitch, pitch - zone.high, 0))


@lru_cache(maxsize=1)
def _piano() -> list[Zone]:
    """Program 0 of the SoundFont in pretty-midi's wheel, found without importing pretty-midi."""
    spec = find_spec("pretty_midi")
    path = Path(spec.origin if spec and spec.origin else "pretty_midi").with_name("TimGM6mb.sf2")
    try:
        return read_zones(path.read_bytes(), program=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); pip install pretty-midi") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; reinstall pretty-midi") from None
