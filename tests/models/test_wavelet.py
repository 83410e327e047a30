from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from waveletgpt.common.errors import InputError
from waveletgpt.models.filters.convolution import toeplitz_convolution
from waveletgpt.models.wavelet import CausalWavelet, WaveletKind

torch.set_num_threads(1)

KINDS: tuple[WaveletKind, ...] = ("haar", "learnable")
FLOAT32_TOLERANCE = 2e-6  # for inputs of about 1 and weights that sum to 1


def reference(x: Tensor, levels: list[int], kernels: list[Tensor] | None = None) -> Tensor:
    """The output by definition, in float64, one window at a time."""
    x = x.double()
    y = x.clone()
    B, T, E = x.shape
    half = E // 2
    for c, level in enumerate(levels):
        kernel = torch.full((2**level,), 2.0**-level).double() if kernels is None else kernels[c].double()
        for b in range(B):
            for t in range(T):
                window = range(min(t + 1, 2**level))
                y[b, t, half + c] = sum(float(kernel[m]) * float(x[b, t - m, half + c]) for m in window)
    return y


def layer(n_embd: int, kind: WaveletKind, n_levels: int, seed: int = 0) -> tuple[CausalWavelet, Any]:
    """A layer, with random kernels if it learns them, and the kernel of each coordinate."""
    wavelet = CausalWavelet(n_embd, kind, n_levels)
    if kind == "haar":
        return wavelet, None
    torch.manual_seed(seed)
    with torch.no_grad():
        wavelet.kernels.mul_(torch.rand(wavelet.kernels.shape) * 2)
    return wavelet, wavelet.kernels.detach().split([2**level for level in wavelet.levels.tolist()])


def decoded(wavelet: CausalWavelet, x: Tensor, prefill: int) -> Tensor:
    """x (B, T, E) mixed with a decoding state: the first `prefill` positions at once, the others one by one."""
    state = wavelet.new_state(len(x))
    parts = [wavelet(x[:, :prefill], state)] if prefill else []
    parts += [wavelet(x[:, t : t + 1], state) for t in range(prefill, x.shape[1])]
    return torch.cat(parts, dim=1)


shapes = st.tuples(
    st.integers(1, 3),  # batch
    st.integers(1, 40),  # time: shorter and longer than the windows
    st.sampled_from([2, 6, 8, 10]),  # coordinates, half of which may be odd
    st.integers(1, 5),  # levels
    st.integers(0, 1000),  # seed
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(shapes)
def test_the_layer_equals_its_definition(kind: WaveletKind, shape: tuple[int, int, int, int, int]) -> None:
    B, T, E, n_levels, seed = shape
    wavelet, kernels = layer(E, kind, n_levels, seed)
    x = torch.randn(B, T, E, dtype=torch.float64)
    expected = reference(x, wavelet.levels.tolist(), kernels)
    double = wavelet.double()(x)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, expected, rtol=0, atol=1e-12)
    single = wavelet.float()(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(),
        reference(x.float(), wavelet.levels.tolist(), kernels),
        rtol=0,
        atol=FLOAT32_TOLERANCE,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_long_windows_equal_the_definition(kind: WaveletKind, length: int) -> None:
    wavelet, kernels = layer(4, kind, 6)
    x = torch.randn(1, length, 4)
    expected = reference(x, wavelet.levels.tolist(), kernels)
    torch.testing.assert_close(wavelet(x).double(), expected, rtol=0, atol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_inputs_are_summed_in_float32(kind: WaveletKind) -> None:
    """A sum taken in bfloat16 over 64 inputs near 1 would be wrong in the first digit."""
    wavelet, kernels = layer(8, kind, 6)
    x = (1 + 0.1 * torch.randn(2, 150, 8)).bfloat16()
    expected = reference(x, wavelet.levels.tolist(), kernels)
    mixed = wavelet(x)
    assert mixed.dtype == torch.bfloat16
    # Half a unit in the last place of bfloat16 (8 bits of significand), and float32's own rounding.
    torch.testing.assert_close(mixed.double(), expected, rtol=2**-8 + 1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_keeps_float32_exact(kind: WaveletKind) -> None:
    wavelet, _ = layer(8, kind, 6)
    x = torch.randn(2, 100, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        autocast, stepwise = wavelet(x), decoded(wavelet, x, 70)
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, wavelet(x))
    torch.testing.assert_close(stepwise, autocast, rtol=0, atol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_the_first_half_passes_unchanged(kind: WaveletKind) -> None:
    x = torch.randn(2, 20, 6)
    mixed = CausalWavelet(6, kind, 3)(x)
    assert torch.equal(mixed[..., :3], x[..., :3])
    assert torch.equal(mixed[..., 3:], x[..., 3:]) == (kind == "none")


def test_the_input_is_left_as_it_was() -> None:
    for kind in KINDS:
        x = torch.randn(1, 20, 4)
        before = x.clone()
        CausalWavelet(4, kind, 3)(x)
        assert torch.equal(x, before)


def test_levels_rise_linearly_from_1_to_n_levels() -> None:
    assert CausalWavelet(18, "haar", 9).levels.tolist() == list(range(1, 10))
    assert CausalWavelet(10, "haar", 9).levels.tolist() == [1, 3, 5, 7, 9]
    levels = CausalWavelet(128, "haar", 9).levels
    assert levels[0] == 1
    assert levels[-1] == 9
    straight = 1 + 8 * torch.arange(64) / 63
    assert (levels - straight).abs().max() <= 0.5


def test_learnable_starts_as_haar() -> None:
    for T in (1, 7, 100):
        x = torch.randn(2, T, 12)
        haar, learnable = CausalWavelet(12, "haar", 6)(x), CausalWavelet(12, "learnable", 6)(x)
        torch.testing.assert_close(learnable, haar, rtol=0, atol=FLOAT32_TOLERANCE)


def test_only_learnable_has_parameters_one_for_each_position_of_its_windows() -> None:
    assert not list(CausalWavelet(10, "none", 9).parameters())
    assert not list(CausalWavelet(10, "haar", 9).parameters())
    (kernels,) = CausalWavelet(10, "learnable", 9).parameters()
    assert kernels.numel() == 2 + 8 + 32 + 128 + 512


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [3, 11])
def test_gradients(kind: WaveletKind, length: int) -> None:
    """Gradients are compared with finite differences, and so are haar's second derivatives."""
    wavelet = layer(6, kind, 3)[0].double()
    x = torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True)
    inputs = (x, *wavelet.parameters())

    def mixed(x: Tensor, *kernels: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(wavelet, dict(zip(["kernels"], kernels, strict=False)), (x,))
        return y

    assert torch.autograd.gradcheck(mixed, inputs)
    if kind == "haar":
        assert torch.autograd.gradgradcheck(mixed, inputs)


@pytest.mark.parametrize(("n_levels", "length"), [(4, 1), (4, 20), (8, 256), (9, 129), (9, 700), (11, 2048)])
def test_toeplitz_products_equal_the_fft(n_levels: int, length: int) -> None:
    """Outputs and both gradients, with one block of positions and with several."""
    wavelet = layer(24, "learnable", n_levels)[0].double()
    weights = torch.randn(2, length, 24, dtype=torch.float64)
    found = []
    for convolve in (wavelet.mix, lambda x: toeplitz_convolution(x, wavelet.kernel_matrix(), wavelet.lengths)):
        x = torch.randn(
            2, length, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
        )
        y = convolve(x)
        found.append((y, *torch.autograd.grad((y * weights).sum(), (x, wavelet.kernels))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_toeplitz_products_are_taken_on_a_gpu_and_in_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    wavelet, x = layer(24, "learnable", 9)[0], torch.randn(2, 600, 24)
    by_fft, products = wavelet(x), list[torch.dtype]()
    bmm = torch.bmm
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch, "bmm", lambda a, b: products.append((y := bmm(a, b)).dtype) or y)
    torch.testing.assert_close(wavelet(x), by_fft, rtol=0, atol=1e-4)
    assert products == [torch.float32, torch.float32]  # blocks of 128 and of 512 positions
    assert wavelet(x[:, :0]).shape == (2, 0, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = wavelet(x)
    assert products[2:] == [torch.bfloat16, torch.bfloat16]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, by_fft, rtol=0, atol=0.1)


def test_haar_never_sees_the_future() -> None:
    """Changing later inputs changes no bit of earlier outputs."""
    wavelet = CausalWavelet(8, "haar", 5)
    x = torch.randn(1, 50, 8)
    for t in (0, 1, 15, 31, 32, 48):
        changed = x.clone()
        changed[:, t + 1 :] = 1e6
        assert torch.equal(wavelet(changed)[:, : t + 1], wavelet(x)[:, : t + 1])
        assert not torch.equal(wavelet(changed), wavelet(x))


def test_learnable_never_sees_the_future() -> None:
    """An FFT's rounding error grows with the largest input, so the changed inputs have the size of the others."""
    wavelet = layer(8, "learnable", 5)[0].double()
    x = torch.randn(1, 50, 8, dtype=torch.float64, requires_grad=True)
    for t in (0, 1, 15, 31, 32, 48):
        with torch.no_grad():
            changed = x.clone()
            changed[:, t + 1 :] = torch.randn(1, 49 - t, 8)
            seen = (wavelet(changed) - wavelet(x))[:, : t + 1]
        assert seen.abs().max() < 1e-14
        (grad,) = torch.autograd.grad(wavelet(x)[:, t].sum(), x)
        assert grad[:, t + 1 :].abs().max() < 1e-15
        assert grad[:, t].abs().min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prefill", [0, 1, 2, 7, 8, 9, 16, 29, 40])
def test_step_by_step_equals_the_whole(kind: WaveletKind, batch: int, prefill: int) -> None:
    """The prompt is shorter or longer than the window of 8."""
    wavelet, _ = layer(10, kind, 3)
    x = torch.randn(batch, 40, 10)
    with torch.no_grad():
        torch.testing.assert_close(decoded(wavelet, x, prefill), wavelet(x), rtol=0, atol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_first_reading_leaves_the_state_empty(kind: WaveletKind) -> None:
    wavelet, _ = layer(6, kind, 3)
    x = torch.randn(2, 20, 6)
    state = wavelet.new_state(2)
    with torch.no_grad():
        assert wavelet(x[:, :0], state).shape == (2, 0, 6)
        assert state is not None
        assert state.length == 0
        torch.testing.assert_close(wavelet(x, state), wavelet(x))


@pytest.mark.parametrize("kind", KINDS)
def test_streams_decoded_together_do_not_mix(kind: WaveletKind) -> None:
    wavelet, _ = layer(6, kind, 4)
    x = torch.randn(3, 40, 6)
    with torch.no_grad():
        together = decoded(wavelet, x, 5)
        for b in range(3):
            assert torch.equal(decoded(wavelet, x[b : b + 1], 5), together[b : b + 1])


@pytest.mark.slow
def test_running_sums_do_not_drift() -> None:
    """After 20,000 inputs of very different sizes, the running sums equal the sums of the last windows."""
    wavelet = CausalWavelet(6, "haar", 5)
    T, last = 20_000, 40
    x = 3 + torch.randn(1, T, 6) * 10 ** (3 * torch.linspace(0, 20, T).cos())[:, None]
    state = wavelet.new_state(1)
    with torch.inference_mode():
        steps = [wavelet(one, state) for one in x.split(1, dim=1)][-last:]
        expected = wavelet(x[:, -last - wavelet.window :])[:, -last:]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-5, atol=1e-5)


class Operations(TorchDispatchMode):
    """Notes the name of every operation, and the elements of the largest tensor that it reads or writes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        self.seen.append((func.overloadpacket.__name__, max(tensor.numel() for tensor in tensors)))
        return result


def test_a_step_of_haar_costs_the_same_whatever_the_window_and_the_time() -> None:
    """Every step does the same operations, on at most B E elements. Two operations are given the whole ring, but
    they touch only one slot or one element for each coordinate.
    """
    B, E = 2, 18  # 18: every level from 1 to 9
    steps = []
    for n_levels, prefill in ((3, 1), (3, 100), (9, 1), (9, 3000)):
        wavelet, x = CausalWavelet(E, "haar", n_levels), torch.randn(B, 1, E)
        state = wavelet.new_state(B)
        wavelet(torch.randn(B, prefill, E), state)
        with Operations() as operations:
            wavelet(x, state)
        assert all(size <= B * E for name, size in operations.seen if name not in ("gather", "index_copy_"))
        steps.append([name for name, _ in operations.seen])
    assert steps.count(steps[0]) == 4
    assert steps[0].count("gather") == steps[0].count("index_copy_") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_of_a_state_is_constant(kind: WaveletKind) -> None:
    def elements() -> list[int]:
        return [value.untyped_storage().nbytes() for value in vars(state).values() if isinstance(value, Tensor)]

    wavelet, _ = layer(6, kind, 4)
    state = wavelet.new_state(2)
    before = elements()
    with torch.no_grad():
        wavelet(torch.randn(2, 100, 6), state)
        for _ in range(50):
            wavelet(torch.randn(2, 1, 6), state)
    assert elements() == before
    assert state is not None
    assert state.length == int(state.time) == 150
    assert state.ring.shape == (2, 2**4, 3)
    assert state.total.shape == (2, 3)
    assert state.total.dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefill", [1, 5, 23])
def test_a_state_repeated_or_taken_over_continues_as_its_original(kind: WaveletKind, prefill: int) -> None:
    wavelet, _ = layer(6, kind, 3)
    x, new = torch.randn(2, prefill, 6), torch.randn(4, 9, 6)
    with torch.no_grad():
        state, taken = wavelet.new_state(2), wavelet.new_state(4)
        assert state is not None and taken is not None
        wavelet(x, state)
        wavelet(torch.randn(4, 30, 6), taken)  # replaced by copy_ below
        repeated = state.repeat(2)
        taken.copy_(repeated)
        before = state.ring.clone()
        expected = wavelet(torch.cat([x.repeat(2, 1, 1), new], dim=1))[:, prefill:]
        for one in (repeated, taken):
            steps = [wavelet(new[:, t : t + 1], one) for t in range(9)]
            torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=FLOAT32_TOLERANCE)
    assert torch.equal(state.ring, before)
    assert state.length == int(state.time) == prefill


def test_a_state_takes_one_position_at_a_time_after_its_first() -> None:
    wavelet = CausalWavelet(4, "haar", 2)
    state = wavelet.new_state(1)
    wavelet(torch.randn(1, 3, 4), state)
    with pytest.raises(ValueError, match="one position at a time"):
        wavelet(torch.randn(1, 2, 4), state)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((7, "haar", 3), "n_embd"),
        ((0, "haar", 3), "n_embd"),
        ((8, "haar", 0), "n_levels"),
        ((8, "db4", 3), "db4"),
    ],
)
def test_impossible_layers_are_refused(arguments: Any, field: str) -> None:
    with pytest.raises(InputError, match=field) as refusal:
        CausalWavelet(*arguments)
    assert len(str(refusal.value).splitlines()) == 1
