"""Causal attention for training on a CPU. PyTorch's own loses half of its time there on small heads.

Shapes: B batch, H heads, T time, D head size, G heads computed at once.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

N_QUERIES = 64
"""Queries in a block. A block is computed with the keys up to its end only, so few masked scores are computed."""
CACHE = 1 << 20
"""Most bytes that the scores of G heads take, so that they stay in a core's cache."""


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention of every position to itself and those before it; q, k, v and the result are (B, H, T, D).

    Calls F.scaled_dot_product_attention, except where gradients are needed on a CPU: there the same is computed block
    by block. In bfloat16 the blocks' scores and weights are rounded to bfloat16.
    """
    trains = torch.is_grad_enabled() and q.requires_grad and not torch.compiler.is_compiling()
    if trains and q.is_cpu and q.dtype in (torch.float32, torch.bfloat16) and not dropout:
        y: Tensor = _BlockedAttention.apply(q, k, v)  # type: ignore[no-untyped-call]
        return y
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)


def cached_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention of one query (B, H, 1, D) to those of k, v (B, H, T, D) that are `seen` (1, T). Returns (B, H, 1, D).

    Calls F.scaled_dot_product_attention, except where torch.compile can fuse the same operations. That is for GPUs,
    where it spreads the keys of a head over many multiprocessors; not measured yet.
    """
    if dropout or not torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
    scores = (q * k).sum(-1) * q.shape[-1] ** -0.5  # (B, H, T)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    y: Tensor = (weights[..., None] * v).sum(2, keepdim=True)
    return y


class _BlockedAttention(torch.autograd.Function):
    """Attention, one block of queries after another. The backward pass computes the weights again to save memory."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.shape, ctx.scale = q.shape, q.shape[-1] ** -0.5
        q, k, v = (q * ctx.scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)  # each (B H, T, D)
        ctx.save_for_backward(q, k, v)
        y = torch.empty_like(v)
        heads, future = _heads_at_once(q), _future(q)
        parts = (torch.split(t, heads) for t in (q, k, v, y))
        for q_, k_, v_, y_ in zip(*parts, strict=True):
            for at, seen in _blocks(q.shape[1]):
                y_[:, at] = torch.bmm(_weights(q_, k_, at, seen, future), v_[:, seen])
        return y.view(ctx.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        grad, grad_q = grad.flatten(0, 1), torch.empty_like(q)
        # Gradients of k and v are sums over the blocks, so in float32. Their products are faster transposed.
        grad_k, grad_v = torch.zeros(2, *q.transpose(1, 2).shape)  # each (B H, D, T)
        heads, future = _heads_at_once(q), _future(q)
        parts = (torch.split(t, heads) for t in (q, k, v, grad, grad_q, grad_k, grad_v))
        for q_, k_, v_, grad_, grad_q_, grad_k_, grad_v_ in zip(*parts, strict=True):
            for at, seen in _blocks(q.shape[1]):
                weights = _weights(q_, k_, at, seen, future)  # (G, queries, keys)
                grad_v_[:, :, seen] += torch.bmm(grad_[:, at].transpose(1, 2), weights)
                grad_weights = torch.bmm(grad_[:, at], v_[:, seen].transpose(1, 2))
                grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
                grad_q_[:, at] = torch.bmm(grad_scores, k_[:, seen])
                grad_k_[:, :, seen] += torch.bmm(q_[:, at].transpose(1, 2), grad_scores)
        grad_q *= ctx.scale
        grad_k, grad_v = (g.transpose(1, 2).to(q.dtype).view(ctx.shape) for g in (grad_k, grad_v))
        return grad_q.view(ctx.shape), grad_k, grad_v


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """The queries of each block, and the keys that it sees."""
    starts = range(0, length, N_QUERIES)
    return [(slice(start, start + N_QUERIES), slice(0, start + N_QUERIES)) for start in starts]


def _heads_at_once(q: Tensor) -> int:
    return max(1, CACHE // (N_QUERIES * q.shape[1] * q.element_size()))


def _future(q: Tensor) -> Tensor:
    """The mask added to the scores of a block's own keys: minus infinity for keys after the query."""
    return q.new_full((N_QUERIES, N_QUERIES), -torch.inf).triu(1)


def _weights(q: Tensor, k: Tensor, at: slice, seen: slice, future: Tensor) -> Tensor:
    """The attention weights (G, queries, keys) of the queries `at`."""
    scores = torch.bmm(q[:, at], k[:, seen].transpose(1, 2))
    n_queries = scores.shape[1]
    scores[:, :, seen.stop - N_QUERIES :] += future[:n_queries, :n_queries]
    return scores.softmax(-1)
