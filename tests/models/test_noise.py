import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from waveletgpt.models import noise
from waveletgpt.models.noise import gumbel_noise, philox

WORDS = st.integers(0, 2**32 - 1)
SEEDS = [0, 1, 2**32, 2**63 + 1, 2**64 - 1]


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as in its paper (Salmon et al., SC 2011, section 3.3), computed with Python integers."""
    a, b, c, d = counter
    for i in range(10):
        k, m = ((word + i * step) % 2**32 for word, step in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True))
        first, second = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = second // 2**32 ^ b ^ k, second % 2**32, first // 2**32 ^ d ^ m, first % 2**32
    return [a, b, c, d]


def words(counter: list[int], key: list[int]) -> list[int]:
    a, b, c, d = torch.tensor(counter)[:, None]
    return [int(word) for word in philox((a, b, c, d), (key[0], key[1]))]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    given_counter, given_key, answer = ([int(word, 16) for word in text.split()] for text in (counter, key, expected))
    assert words(given_counter, given_key) == answer
    assert slow_philox(given_counter, given_key) == answer


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=4, max_size=4), st.lists(WORDS, min_size=2, max_size=2))
def test_philox_for_any_counter_and_key(counter: list[int], key: list[int]) -> None:
    assert words(counter, key) == slow_philox(counter, key)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [0, 7, 2**32 - 1, 2**32, 5 * 2**32 + 3])
def test_noise_by_its_address(seed: int, step: int) -> None:
    """The noise of token t is word t % 4 of Philox at counter (t // 4, sample, step), with the seed as key."""
    found = gumbel_noise(seed, range(3), range(step, step + 1), 6)[0]
    for sample in range(3):
        for token in range(6):
            counter = [token // 4, sample, step % 2**32, step // 2**32]
            word = slow_philox(counter, [seed % 2**32, seed // 2**32])[token % 4]
            expected = -math.log(-math.log((word + 0.5) / 2**32))
            assert found[sample, token].item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_noise_does_not_depend_on_what_is_asked_for_beside_it() -> None:
    """More steps, more samples or a larger vocabulary leave the noise unchanged."""
    everything = gumbel_noise(5, range(4), range(30), 23)
    assert everything.shape == (30, 4, 23)
    assert everything.dtype == torch.float32
    assert torch.equal(gumbel_noise(5, range(4), range(11, 13), 23), everything[11:13])
    assert torch.equal(gumbel_noise(5, range(4), range(1, 30, 3), 23), everything[1:30:3])
    assert torch.equal(gumbel_noise(5, range(1), range(30), 23), everything[:, :1])
    assert torch.equal(gumbel_noise(5, range(1, 3), range(30), 23), everything[:, 1:3])
    for n_tokens in (1, 2, 3, 4, 5, 22):
        assert torch.equal(gumbel_noise(5, range(4), range(30), n_tokens), everything[..., :n_tokens])
    assert gumbel_noise(5, range(4), range(8, 8), 23).shape == (0, 4, 23)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_addresses_do_not_share_their_noise() -> None:
    """Noise at different addresses is uncorrelated: for 12,800 pairs, below 4 / sqrt(12,800) = 0.035."""
    first = gumbel_noise(0, range(4), range(50), 64)
    others = [gumbel_noise(seed, range(4), range(50), 64) for seed in SEEDS[1:]]
    others += [gumbel_noise(0, range(4), range(start, start + 50), 64) for start in (50, 2**32)]
    others += [first.roll(1, dim) for dim in range(3)]
    assert max(abs(correlation(first, other)) for other in others) < 0.035
    assert len(torch.stack([first, *others[:-3]]).unique()) > 0.999 * 7 * first.numel()


def test_noise_is_standard_gumbel() -> None:
    """Mean, variance and Kolmogorov-Smirnov distance of 200,000 values; chance exceeds the limit in 0.1 % of cases."""
    count = 200_000
    values = gumbel_noise(3, range(10), range(200), 100).double().flatten().sort().values
    assert values.mean().item() == pytest.approx(0.5772157, abs=4 * math.pi / math.sqrt(6 * count))
    assert values.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)
    cumulative = torch.exp(-torch.exp(-values))
    steps = torch.arange(count + 1).double() / count
    distance = max((steps[1:] - cumulative).max(), (cumulative - steps[:-1]).max())
    assert distance * math.sqrt(count) < 1.95
    assert distance * math.sqrt(count) > 0.3  # a smaller distance would be too good for chance


def test_the_extreme_words_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = [torch.full((1, 1, 1), word) for word in (0, 1, 2**32 - 2, 2**32 - 1)]
    monkeypatch.setattr(noise, "philox", lambda counters, key: extremes)
    values = gumbel_noise(0, range(1), range(1), 4).flatten().tolist()
    near_0, near_1 = 33 * math.log(2), 32 * math.log(2) - math.log(1.5)  # -log of 2**-33 and of 1.5 * 2**-32
    expected = [-math.log(near_0), -math.log(near_1), near_1, near_0]
    assert values == pytest.approx(expected, rel=1e-5)


def test_the_largest_of_logits_with_noise_is_drawn_from_their_softmax() -> None:
    """A chi-square test of 20,000 draws; with 10 degrees of freedom, chance exceeds 29.6 in 0.1 % of cases."""
    logits = torch.linspace(-1.5, 1.5, 11)
    drawn = (logits + gumbel_noise(2**63 + 1, range(4), range(5000), 11)).argmax(-1).flatten()
    expected = 20_000 * logits.double().softmax(-1)
    chi_square = ((torch.bincount(drawn, minlength=11) - expected) ** 2 / expected).sum()
    assert 1.5 < chi_square < 29.6
