import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.attention import N_QUERIES, causal_attention

torch.set_num_threads(1)


def tensors(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """q, k, v and an output gradient, each (B, H, T, D); they are not contiguous, as in the model."""
    B, H, T, D = shape
    parts = [torch.randn(B, T, H, D).to(dtype).transpose(1, 2) for _ in range(4)]
    return [*(part.requires_grad_() for part in parts[:3]), parts[3]]


def results(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    y = causal_attention(q, k, v)
    assert y.shape == q.shape
    assert y.dtype == q.dtype
    return [y.detach(), *torch.autograd.grad(y, (q, k, v), grad)]


def reference(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    """Output and gradients of attention by its definition, in float64."""
    q, k, v = (t.detach().double().requires_grad_() for t in (q, k, v))
    T, D = q.shape[-2:]
    scores = q @ k.mT / D**0.5 + torch.full((T, T), -torch.inf).triu(1)
    y = scores.softmax(-1) @ v
    return [y.detach(), *torch.autograd.grad(y, (q, k, v), grad.double())]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3 * N_QUERIES), st.sampled_from([2, 4, 16]))
def test_output_and_gradients_are_those_of_the_definition(B: int, H: int, T: int, D: int) -> None:  # noqa: N803
    parts = tensors((B, H, T, D), torch.float32)
    for found, expected in zip(results(*parts), reference(*parts), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [N_QUERIES - 1, N_QUERIES, N_QUERIES + 1, 512])
def test_heads_beyond_what_is_computed_at_once(length: int) -> None:
    parts = tensors((3, 7, length, 16), torch.float32)
    for found, expected in zip(results(*parts), reference(*parts), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_rounds_by_little_more_than_pytorch() -> None:
    """Scores and weights are rounded to bfloat16, each with a random error of up to 0.4 %."""
    q, k, v, grad = tensors((2, 4, 300, 16), torch.bfloat16)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    theirs = [y.detach(), *torch.autograd.grad(y, (q, k, v), grad)]
    for found, other, expected in zip(results(q, k, v, grad), theirs, reference(q, k, v, grad), strict=True):
        scale = expected.abs().max()
        mine, pytorch = ((t.double() - expected).norm() / expected.norm() for t in (found, other))
        assert mine < 2.5 * pytorch
        assert (found.double() - expected).abs().max() < 0.02 * scale


def test_the_future_is_not_seen_in_the_last_bit() -> None:
    q, k, v, _ = tensors((1, 2, 200, 16), torch.float32)
    for t in (0, 62, 63, 64, 150, 198):
        changed = [x.detach().clone() for x in (q, k, v)]
        for x in changed:
            x[:, :, t + 1 :] = 1e6 * torch.randn_like(x[:, :, t + 1 :])
        before, after = causal_attention(q, k, v), causal_attention(*(x.requires_grad_() for x in changed))
        assert torch.equal(before[:, :, : t + 1], after[:, :, : t + 1])


def test_without_gradients_it_is_pytorchs() -> None:
    q, k, v, _ = tensors((2, 3, 100, 16), torch.float32)
    with torch.no_grad():
        y = causal_attention(q, k, v)
        assert torch.equal(y, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    torch.testing.assert_close(y, causal_attention(q, k, v).detach(), rtol=0, atol=2e-6)
