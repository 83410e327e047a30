"""Layers on keys are the filters that they say they are, half of each head's coordinates."""

import pytest
import torch

from waveletgpt.models.filters.keys import KEY_MIXERS, KeyOffset

torch.set_num_threads(1)

SPANS = {"key-offset": [1, 1, 1, 1], "key-means": [1, 2, 4, 4]}  # of 4 heads, 3 levels


def layer(name: str) -> KeyOffset:
    mixer = KEY_MIXERS[name](32, 4, 3)
    assert isinstance(mixer, KeyOffset)
    return mixer


@pytest.mark.parametrize("name", KEY_MIXERS)
@pytest.mark.parametrize("length", [1, 3, 20])
def test_half_of_each_head_is_the_mean_of_earlier_keys(name: str, length: int) -> None:
    """Against a loop over positions and coordinates."""
    keys = torch.randn(2, length, 4, 8)  # (B, T, H, D)
    expected = keys.clone()
    for t in range(length):
        for head, span in enumerate(SPANS[name]):
            for i in (2, 3, 6, 7):  # the pairs (2, 6) and (3, 7)
                expected[:, t, head, i] = keys[:, max(0, t - span) : t, head, i].sum(1) / span
    torch.testing.assert_close(layer(name)(keys.flatten(2)), expected.flatten(2))


@pytest.mark.parametrize("name", KEY_MIXERS)
def test_its_kernels_are_what_it_makes_of_an_impulse(name: str) -> None:
    mixer = layer(name)
    impulse = torch.zeros(1, mixer.window, 32)
    impulse[:, 0] = 1
    assert torch.equal(mixer.kernel_matrix(), mixer(impulse)[0].T)


@pytest.mark.parametrize("name", KEY_MIXERS)
def test_gradients_in_float64(name: str) -> None:
    x = torch.randn(1, 6, 32, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer(name).double(), (x,))
