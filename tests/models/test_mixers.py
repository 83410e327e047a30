"""Every mixer is causal and has correct gradients, and each computes its documented kernels."""

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.filters.base import CausalFilter
from waveletgpt.models.filters.controls import CONTROLS
from waveletgpt.models.filters.multiscale import CANDIDATES
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS, MIXERS

torch.set_num_threads(1)

FILTERS = [name for name in ALL_MIXERS if name != "none"]
SHAPES = [(2, 1), (12, 3), (128, 9)]  # n_embd, n_levels


def layer(name: str, shape: tuple[int, int]) -> CausalFilter:
    """A layer, with random kernels if it learns them."""
    mixer = ALL_MIXERS[name](*shape)
    assert isinstance(mixer, CausalFilter)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return mixer


def convolved(x: Tensor, kernels: Tensor) -> Tensor:
    """The last C coordinates of x (B, T, E) convolved with kernels (C, W), one product at a time."""
    C, W = kernels.shape
    past = F.pad(x[..., -C:].transpose(1, 2), (W - 1, 0))  # (B, C, W - 1 + T)
    mixed = F.conv1d(past, kernels.flip(1)[:, None].to(x.dtype), groups=C).transpose(1, 2)
    return torch.cat([x[..., :-C], mixed], dim=-1)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [1, 7, 600])
def test_it_is_the_convolution_with_its_kernels(name: str, shape: tuple[int, int], length: int) -> None:
    mixer, x = layer(name, shape), torch.randn(2, length, shape[0])
    mixed = mixer(x)
    assert mixed.dtype == x.dtype
    torch.testing.assert_close(mixed, convolved(x, mixer.kernel_matrix()), rtol=1e-5, atol=1e-5)
    assert torch.equal(mixed[..., : -mixer.width], x[..., : -mixer.width])


@pytest.mark.parametrize("name", FILTERS)
def test_gradients_are_those_of_the_convolution(name: str) -> None:
    """The gradients of the inputs and of all parameters are checked in float64."""
    mixer = layer(name, (12, 3)).double()
    x, weights = torch.randn(2, 20, 12, dtype=torch.double, requires_grad=True), torch.randn(2, 20, 12).double()
    learned = [x, *mixer.parameters()]
    ours = torch.autograd.grad((mixer(x) * weights).sum(), learned)
    expected = torch.autograd.grad((convolved(x, mixer.kernel_matrix()) * weights).sum(), learned)
    for found, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL_MIXERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_does_not_see_the_future(name: str, shape: tuple[int, int]) -> None:
    mixer, x = ALL_MIXERS[name](*shape), torch.randn(1, 30, shape[0], requires_grad=True)
    (seen,) = torch.autograd.grad(mixer(x)[0, 11].abs().sum(), x)
    assert seen[0, :12].any()
    assert float(seen[0, 12:].abs().max()) < 1e-6 * float(seen.abs().max())  # the rounding error of an FFT


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("prefill", [1, 5, 20])
def test_step_by_step_it_is_the_same(name: str, prefill: int) -> None:
    mixer, x = layer(name, (12, 3)), torch.randn(2, 40, 12)
    with torch.no_grad():
        state = mixer.new_state(2)
        parts = [mixer(x[:, :prefill], state), *(mixer(x[:, t : t + 1], state) for t in range(prefill, 40))]
        torch.testing.assert_close(torch.cat(parts, dim=1), mixer(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ALL_MIXERS)
def test_names_are_fit_for_folders(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", name)


def kernels(name: str, n_embd: int = 16, n_levels: int = 6) -> Tensor:
    mixer = ALL_MIXERS[name](n_embd, n_levels)
    assert isinstance(mixer, CausalFilter)
    return mixer.kernel_matrix().detach()


def mean_of(window: int, length: int) -> Tensor:
    return (torch.arange(length) < window) / window


def test_token_shift_is_the_token_before() -> None:
    assert torch.equal(kernels("shift"), torch.tensor([[0.0, 1.0]]).expand(8, 2))


@pytest.mark.parametrize(("name", "n_levels", "window"), [("window4", 6, 16), ("window9", 9, 512), ("window9", 6, 64)])
def test_one_window_for_all(name: str, n_levels: int, window: int) -> None:
    assert torch.equal(kernels(name, n_levels=n_levels), mean_of(window, window).expand(8, window))


def test_candidates_start_as_the_identity() -> None:
    x = torch.randn(2, 40, 8)
    for name in CANDIDATES:
        torch.testing.assert_close(ALL_MIXERS[name](8, 4)(x), x, rtol=0, atol=1e-6)


def test_canon_adds_the_last_four_inputs() -> None:
    mixer = layer("canon", (8, 4))
    taps = mixer.get_parameter("taps").detach()
    expected = taps.T.clone()
    expected[:, 0] += 1
    torch.testing.assert_close(mixer.kernel_matrix(), expected)


def test_multiscale_adds_means_over_dyadic_intervals() -> None:
    mixer = layer("multiscale", (8, 5))
    taps, means = (parameter.detach() for parameter in mixer.parameters())
    expected = torch.zeros(8, 32)
    expected[:, :4] = taps.T
    expected[:, 0] += 1
    for mean, start in zip(means, (4, 8, 16), strict=True):  # one step after another, without running sums
        for lag in range(start, 2 * start):
            expected[:, lag] += mean / start
    torch.testing.assert_close(mixer.kernel_matrix(), expected)


def test_multires_adds_a_detail_of_every_level_and_what_is_left() -> None:
    mixer = layer("multires", (8, 3))
    low, high, weights = (parameter.detach() for parameter in mixer.parameters())
    left = torch.zeros(8, 8)
    left[:, 0] = 1
    expected = left.clone()
    for level in range(3):
        split = torch.zeros(2, 8, 8)
        for lag in range(2**level):
            for filter_, part in zip((low, high), split, strict=True):
                part[:, lag] += filter_[0] * left[:, lag]
                part[:, lag + 2**level] += filter_[1] * left[:, lag]
        left = split[0]
        expected += weights[level][:, None] * split[1]
    torch.testing.assert_close(mixer.kernel_matrix(), expected + weights[3][:, None] * left)


def test_damped_kernels_ring_and_fade() -> None:
    mixer = ALL_MIXERS["damped"](2, 6)
    with torch.no_grad():
        mixer.amplitudes[2] = 1.0
        mixer.log_half_lives[2] = 4.0
        mixer.frequencies[2] = 2 * torch.pi / 8
    kernel = mixer.kernel_matrix()[0]
    strength = 1 - 0.5 ** (1 / 16)
    assert kernel[0].item() == pytest.approx(1 + strength)
    assert kernel[8].item() == pytest.approx(strength / 2**0.5)  # a period later, half of a half-life
    assert kernel[4].item() == pytest.approx(-strength / 2**0.25)
    assert abs(kernel[2].item()) < 1e-6


def test_dyadic_starts_as_token_shift_on_a_quarter() -> None:
    x = torch.randn(2, 20, 16)
    mixed = ALL_MIXERS["dyadic"](16, 3)(x)
    torch.testing.assert_close(mixed[:, 1:, 12:], x[:, :-1, 12:])
    torch.testing.assert_close(mixed[..., :12], x[..., :12])
    assert not mixed[:, 0, 12:].abs().gt(1e-6).any()


def test_dyadic_kernels_can_be_every_haar_level_s_and_no_finer_than_that() -> None:
    mixer = layer("dyadic", (16, 3))
    (weights,) = mixer.parameters()
    assert weights.shape == (4, 1 + 3)
    with torch.no_grad():
        for level in range(4):  # each interval's share of the mean over 2**level
            parts = torch.tensor([1.0, 1, 2, 4])
            weights[level] = parts / 2**level * (parts.cumsum(0) <= 2**level)
    found = mixer.kernel_matrix()
    torch.testing.assert_close(found, torch.stack([mean_of(2**level, 8) for level in range(4)]))
    with torch.no_grad():
        weights.copy_(torch.randn(4, 4))
    found = mixer.kernel_matrix()
    assert torch.equal(found[:, 2], found[:, 3])
    assert torch.equal(found[:, 4:], found[:, 4:5].expand(4, 4))
    torch.testing.assert_close(found[:, 4:].sum(1), weights[:, 3])


def test_exponential_moving_averages_halve_at_their_half_lives() -> None:
    found = kernels("ema", n_embd=8, n_levels=9)  # half-lives of 1, 4, 16 and 64 tokens
    for kernel, half_life in zip(found, (1, 4, 16, 64), strict=True):
        torch.testing.assert_close(kernel[half_life], kernel[0] / 2)
        torch.testing.assert_close(kernel[1:20] / kernel[:19], torch.full((19,), 0.5 ** (1 / half_life)))
    assert (found.sum(1) > 0.996).all()
    assert (found.sum(1) < 1.00001).all()


def test_the_short_convolution_has_four_learned_weights_a_coordinate() -> None:
    mixer = ALL_MIXERS["conv4"](16, 6)
    assert [parameter.numel() for parameter in mixer.parameters()] == [8 * 4]
    assert torch.equal(kernels("conv4"), torch.full((8, 4), 0.25))


@pytest.mark.parametrize(("name", "width"), [("haar-quarter", 4), ("haar", 8), ("haar-three-quarters", 12)])
def test_fractions_of_the_coordinates_have_all_levels(name: str, width: int) -> None:
    found = kernels(name)
    assert len(found) == width
    assert torch.equal(found[0], mean_of(2, 64))
    assert torch.equal(found[-1], mean_of(64, 64))


@pytest.mark.parametrize(("name", "taps"), [("db2", 4), ("sym4", 8)])
def test_other_wavelets_are_cascades_of_their_low_pass(name: str, taps: int) -> None:
    found = kernels(name, n_embd=12, n_levels=6)  # levels 1 to 6
    torch.testing.assert_close(found.sum(1), torch.ones(6))  # like the weights of an average
    first = found[0, :taps]
    assert not found[0, taps:].any()
    # Wavelet low-pass filters are orthogonal to themselves shifted by two, and sum to the square root of 2.
    torch.testing.assert_close((2 * first**2).sum(), torch.tensor(1.0))
    torch.testing.assert_close((first[2:] * first[:-2]).sum(), torch.tensor(0.0), atol=1e-6, rtol=0)
    second = F.conv1d(F.pad(first.view(1, 1, -1), (2 * (taps - 1),) * 2), upsampled(first).flip(0).view(1, 1, -1))[0, 0]
    torch.testing.assert_close(found[1, : len(second)], second, atol=1e-6, rtol=0)
    assert first[: taps // 2].square().sum() > first[taps // 2 :].square().sum()  # the latest tokens weigh most


def upsampled(kernel: Tensor) -> Tensor:
    spread = torch.zeros(2 * len(kernel) - 1)
    spread[::2] = kernel
    return spread


def test_windows_of_other_wavelets_are_no_longer_than_the_longest() -> None:
    for name in ("db2", "sym4"):
        assert kernels(name, n_levels=9).shape[1] <= 512


def test_approximation_and_detail_add_up_to_the_level_below() -> None:
    found = kernels("haar-detail", n_embd=24, n_levels=6)  # levels 1 to 6
    averages, details = found[::2], found[1::2]
    for level, (average, detail) in enumerate(zip(averages, details, strict=True), 1):
        assert torch.equal(average, mean_of(2**level, 64))
        assert torch.equal(average + detail, mean_of(2 ** (level - 1), 64))


def test_controls_are_no_mixers() -> None:
    assert list(MIXERS) == ["none", "haar", "learnable", "dyadic", "shift"]
    assert CONTROLS.keys().isdisjoint(MIXERS)
    assert GPTConfig(mixer="haar-detail").mixer in CONTROLS
