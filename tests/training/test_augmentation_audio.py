"""Audio in training: other loudness, and noise that models read but shall not predict."""

import numpy as np
import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.modalities.audio import CLEAN, augment
from waveletgpt.training.modalities.base import pair

TOKENIZER = MuLawTokenizer(8000)
TONE = TOKENIZER.encode(0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(8001) / 8000)).numpy()[None]  # (1, T + 1)
CHANGE = augment(TOKENIZER.to_dict())


def noise_and_gain(amount: float, seed: float, part: str) -> tuple[float, float]:
    """The noise in dBFS that was added to the tone, and its gain in dB, by least squares."""
    changed = CHANGE(TONE, np.array([[amount, seed]]))[part == "targets"]
    kept = pair(TONE)[part == "targets"]
    assert changed.shape == kept.shape and changed.dtype == kept.dtype
    clean, found = (TOKENIZER.decode(torch.from_numpy(ids[0])).double().numpy() for ids in (kept, changed))
    gain = float(found @ clean / (clean @ clean))
    return 20 * np.log10(np.std(found - gain * clean)), 20 * np.log10(gain)


def test_some_windows_stay_as_they_are() -> None:
    for changed, kept in zip(CHANGE(TONE, np.array([[CLEAN / 2, 0.3]])), pair(TONE), strict=True):
        assert np.array_equal(changed, kept)


def test_all_levels_come_back_without_noise_and_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """So levels are those of the tokenizer."""
    monkeypatch.setattr("waveletgpt.training.modalities.audio.NOISE_DBFS", (-400.0, -400.0))
    monkeypatch.setattr("waveletgpt.training.modalities.audio.GAIN_DB", (0.0, 0.0))
    for count in (16, 64, 256):
        levels = np.arange(count)[None]
        inputs, targets = augment({"kind": "mulaw", "levels": count})(levels, np.array([[1.0, 0.5]]))
        assert np.array_equal(inputs, levels[:, :-1]) and np.array_equal(targets, levels[:, 1:])


def test_the_first_draw_sets_the_noise_and_the_second_the_gain() -> None:
    assert noise_and_gain(1.0, 0.2, "inputs")[0] == pytest.approx(-25, abs=0.5)
    assert -45.5 < noise_and_gain(CLEAN + (1 - CLEAN) / 2, 0.2, "inputs")[0] < -42  # mu-law rounds as well
    gains = [noise_and_gain(0.5, seed, "inputs")[1] for seed in np.linspace(0, 0.99, 60)]
    assert -6.2 < min(gains) < -4 and 4 < max(gains) < 6.2


def test_targets_have_the_gain_and_no_noise() -> None:
    for seed in (0.1, 0.5, 0.9):
        noise, gain = noise_and_gain(1.0, seed, "targets")
        assert noise < -42  # what mu-law's rounding makes
        assert gain == pytest.approx(noise_and_gain(1.0, seed, "inputs")[1], abs=0.2)


def test_a_window_depends_on_its_own_draws_alone() -> None:
    draws = np.array([[0.5, 0.1], [0.9, 0.7]])
    for together, alone in zip(CHANGE(np.repeat(TONE, 2, axis=0), draws), CHANGE(TONE, draws[1:]), strict=True):
        assert np.array_equal(together[1:], alone)
        assert not np.array_equal(together[0], together[1])


def test_loud_windows_are_clipped_to_the_levels() -> None:
    loud = np.full((1, 4000), 255)
    for ids in CHANGE(loud, np.array([[1.0, 0.01]])):
        assert ids.min() >= 0 and ids.max() <= 255


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(InputError, match="--augment knows mu-law audio only"):
        augment({"kind": "midi"})
