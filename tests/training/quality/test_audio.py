"""Measures of sound, tested on tones of known pitch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.quality.audio import AudioMeasures, fundamental, notes

Samples = NDArray[np.float64]


def tone(pitch: float, seconds: float, rate: int) -> Samples:
    """A decaying tone with harmonics."""
    time = np.arange(round(seconds * rate)) / rate
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    wave = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 6) if k * frequency < rate / 2)
    return np.asarray(0.3 * wave * np.exp(-time), np.float64)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("pitch", [40, 55, 60.2, 69, 76.7, 84])
def test_the_fundamental_of_a_tone_is_found_within_ten_cents(pitch: float, rate: int) -> None:
    found = 69 + 12 * np.log2(fundamental(tone(pitch, 0.5, rate), rate) / 440)
    assert len(found) > 40
    assert np.abs(found - pitch).max() < 0.1


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    assert np.isnan(fundamental(noise, 8000)).mean() > 0.95
    assert np.isnan(fundamental(np.zeros(8000), 8000)).all()
    assert not notes(noise, 8000) and not notes(np.zeros(10), 8000)


def test_notes_are_told_apart_and_short_ones_left_out() -> None:
    rate = 8000
    clip = np.concatenate([tone(60, 0.5, rate), tone(64, 0.4, rate), tone(67, 0.1, rate), tone(64.4, 0.4, rate)])
    found = notes(clip, rate)
    assert [note.pitch for note in found] == [60, 64, 64]
    assert [note.cents for note in found] == pytest.approx([0, 0, 40], abs=5)
    assert found[0].seconds == pytest.approx(0.5, abs=0.06)


def test_a_clip_is_measured_from_its_ids() -> None:
    tokenizer = MuLawTokenizer(sample_rate=8000)
    clip = np.concatenate([tone(60, 0.5, 8000), tone(64, 0.5, 8000), tone(60, 0.5, 8000), tone(67.5, 0.5, 8000)])
    numbers = AudioMeasures(tokenizer).numbers(tokenizer.encode(torch.from_numpy(clip).float()))
    assert numbers["different_notes"] == 2  # the last tone lies between two keys
    assert numbers["two_notes_or_more"] == 1
    assert numbers["steady"] > 0.85
    assert numbers["loudness"] == pytest.approx(20 * np.log10(np.sqrt(np.mean(clip**2))), abs=0.2)
    buzz = AudioMeasures(tokenizer).numbers(tokenizer.encode(torch.from_numpy(tone(45, 2.0, 8000)).float()))
    assert buzz["two_notes_or_more"] == 0
