"""Audio in training: other loudness, and noise."""

import numpy as np
import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.modalities.audio import CLEAN, augment

TOKENIZER = MuLawTokenizer(8000)
TONE = TOKENIZER.encode(0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(8001) / 8000)).numpy()[None]  # (1, T + 1)
CHANGE = augment(TOKENIZER.to_dict())


def changed(amount: float, seed: float, windows: np.ndarray = TONE) -> np.ndarray:
    """The first window after augmentation with these draws, as a waveform (T,)."""
    ids = CHANGE(windows, np.array([[amount, seed]] * len(windows)))
    assert ids.shape == windows.shape and ids.dtype == windows.dtype
    return TOKENIZER.decode(torch.from_numpy(ids[0])).double().numpy()


def noise_and_gain(amount: float, seed: float) -> tuple[float, float]:
    """The noise in dBFS that was added, and the gain in dB, by least squares."""
    clean, found = TOKENIZER.decode(torch.from_numpy(TONE[0])).double().numpy(), changed(amount, seed)
    gain = float(found @ clean / (clean @ clean))
    return 20 * np.log10(np.std(found - gain * clean)), 20 * np.log10(gain)


def test_some_windows_stay_as_they_are() -> None:
    assert np.array_equal(CHANGE(TONE, np.array([[CLEAN / 2, 0.3]])), TONE)


def test_all_levels_come_back_without_noise_and_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """So levels are those of the tokenizer."""
    monkeypatch.setattr("waveletgpt.training.modalities.audio.NOISE_DBFS", (-400.0, -400.0))
    monkeypatch.setattr("waveletgpt.training.modalities.audio.GAIN_DB", (0.0, 0.0))
    levels = np.arange(256)[None]
    assert np.array_equal(CHANGE(levels, np.array([[1.0, 0.5]])), levels)
    for few in (16, 64):
        levels = np.arange(few)[None]
        assert np.array_equal(augment({"kind": "mulaw", "levels": few})(levels, np.array([[1.0, 0.5]])), levels)


def test_the_first_draw_sets_the_noise_and_the_second_the_gain() -> None:
    assert noise_and_gain(1.0, 0.2)[0] == pytest.approx(-25, abs=0.5)
    assert noise_and_gain(CLEAN + (1 - CLEAN) / 2, 0.2)[0] == pytest.approx(-45, abs=1.5)  # mu-law rounds as well
    gains = [noise_and_gain(0.5, seed)[1] for seed in np.linspace(0, 0.99, 60)]
    assert -9.2 < min(gains) < -7 and 1 < max(gains) < 3.2


def test_a_window_depends_on_its_own_draws_alone() -> None:
    draws = np.array([[0.5, 0.1], [0.9, 0.7]])
    together = CHANGE(np.repeat(TONE, 2, axis=0), draws)
    assert np.array_equal(together[1:], CHANGE(TONE, draws[1:]))
    assert not np.array_equal(together[0], together[1])


def test_loud_windows_are_clipped_to_the_levels() -> None:
    loud = np.full((1, 4000), 255)
    ids = CHANGE(loud, np.array([[1.0, 0.01]]))
    assert ids.min() >= 0 and ids.max() <= 255


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(InputError, match="--augment knows mu-law audio only"):
        augment({"kind": "midi"})
