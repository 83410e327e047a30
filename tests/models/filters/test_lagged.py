"""The compiled loops and the plain operations of `models.filters.lagged` compute the same."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from waveletgpt.models.filters import lagged
from waveletgpt.models.filters.lagged import lagged_sums
from waveletgpt.models.mixers import KeysValues

torch.set_num_threads(1)


def slow_sums(x: Tensor, taps: Tensor, sums: Tensor, lags: list[int]) -> Tensor:
    """One product at a time."""
    y, C = x.clone(), taps.shape[1]
    for t in range(x.shape[1]):
        for n, weight in enumerate(taps[: t + 1]):
            y[:, t, -C:] += weight * x[:, t - n, -C:]
        for lag, weight in zip(lags, sums, strict=True):
            y[:, t, -C:] += weight * x[:, : max(0, t - lag + 1), -C:].sum(1)
    return y


@pytest.fixture(params=["loops", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute by the loops, or without numba."""
    if request.param == "loops":
        pytest.importorskip("numba")
        assert lagged.compiled_loops() is not None
    else:
        monkeypatch.setattr(lagged, "compiled_loops", lambda: None)
    yield


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("lags", [[], [4, 8, 16]])
@pytest.mark.parametrize("length", [1, 7, 40])
@pytest.mark.parametrize("width", [6, 4])
def test_sums_and_gradients_equal_those_of_a_slow_loop(lags: list[int], length: int, width: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6, length, requires_grad=True).mT  # not contiguous
    taps, sums = (torch.randn(n, width, requires_grad=True) for n in (4, len(lags)))
    y = lagged_sums(x, taps, sums, lags)
    expected = slow_sums(x, taps, sums, lags)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    weights, learned = torch.randn(3, 6, length).mT, [x, taps, *([sums] if length > 4 and lags else [])]
    ours, theirs = (torch.autograd.grad((out * weights).sum(), learned) for out in (y, expected))
    for found, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("way")
def test_bfloat16_is_computed_in_float32() -> None:
    x = torch.randn(2, 30, 6).bfloat16().requires_grad_()
    taps, sums = torch.randn(4, 6), torch.randn(1, 6)
    y = lagged_sums(x, taps, sums, [4])
    assert torch.equal(y, lagged_sums(x.float(), taps, sums, [4]).bfloat16())
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["canon", "multiscale"])
def test_keys_and_values_in_one_pass_equal_two(name: str) -> None:
    torch.manual_seed(0)
    mixers, qkv = KeysValues(name, 8, 2, 4), torch.randn(2, 30, 24)
    for parameter in mixers.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        apart = mixers(qkv, [mixer.new_state(2) for mixer in mixers])
        torch.testing.assert_close(mixers(qkv), apart, rtol=0, atol=1e-5)
    torch.testing.assert_close(mixers(qkv.requires_grad_()), apart, rtol=0, atol=1e-5)
