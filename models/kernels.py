"""The loops of `models.fused`, compiled by numba.

Shapes: R rows (positions of one or more streams), E embedding, H heads, D = E / H, L blocks, T context,
V vocabulary, C filtered coordinates, S the sum of their windows' lengths.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
F = TypeVar("F", bound=Callable[..., Any])
f32 = np.float32

NONE, HAAR, FILTER = 0, 1, 2
"""Kinds of layers between the blocks."""


def compiled(**options: Any) -> Callable[[F], F]:
    """Compile a function of arrays, and cache the result on disk where a folder can be written to.

    Sums may be reordered, so that they are vectorised; infinities and NaN keep their meaning.
    """
    allowed = {"contract", "reassoc", "nsz", "arcp"}
    options |= {"nogil": True, "error_model": "numpy", "fastmath": allowed}

    def decorate(function: F) -> F:
        try:
            kept: F = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written to
            kept = numba.njit(**options)(function)
        return kept

    return decorate


@compiled(inline="always")
def exp(x: Any) -> Any:
    """e**x for x in -80 .. 80 to float32 rounding (Cephes' polynomial). Unlike math.exp it vectorises."""
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - n * f32(0.693359375) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(f32)


@compiled()
def layer_norm(x: Array, weight: Array, bias: Array, y: Array) -> None:
    """y (R, E) = layer norm of x (R, E)."""
    R, E = x.shape
    for r in range(R):
        total = f32(0)
        for e in range(E):
            total += x[r, e]
        mean = total / f32(E)
        square = f32(0)
        for e in range(E):
            square += (x[r, e] - mean) * (x[r, e] - mean)
        scale = f32(1) / math.sqrt(square / f32(E) + f32(1e-5))
        for e in range(E):
            y[r, e] = (x[r, e] - mean) * scale * weight[e] + bias[e]


@compiled()
def linear(x: Array, w: Array, y: Array) -> None:
    """y (R, O) = x (R, I) w (I, O), in tiles of four rows and four inputs: sixteen products for eight loads."""
    R, I = x.shape  # noqa: E741, the field's letter
    O = w.shape[1]  # noqa: E741
    y[:] = f32(0)
    rows, inputs = R - R % 4, I - I % 4
    for r in range(0, rows, 4):
        y0, y1, y2, y3 = y[r], y[r + 1], y[r + 2], y[r + 3]
        for i in range(0, inputs, 4):
            w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            a0, a1, a2, a3 = x[r, i], x[r, i + 1], x[r, i + 2], x[r, i + 3]
            b0, b1, b2, b3 = x[r + 1, i], x[r + 1, i + 1], x[r + 1, i + 2], x[r + 1, i + 3]
            c0, c1, c2, c3 = x[r + 2, i], x[r + 2, i + 1], x[r + 2, i + 2], x[r + 2, i + 3]
            d0, d1, d2, d3 = x[r + 3, i], x[r + 3, i + 1], x[r + 3, i + 2], x[r + 3, i + 3]
            for o in range(O):
                v0, v1, v2, v3 = w0[o], w1[o], w2[o], w3[o]
                y0[o] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                y1[o] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
                y2[o] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
                y3[o] += d0 * v0 + d1 * v1 + d2 * v2 + d3 * v3
    for r in range(rows, R):
        y0 = y[r]
        for i in range(0, inputs, 4):
            w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            a0, a1, a2, a3 = x[r, i], x[r, i + 1], x[r, i + 2], x[r, i + 3]
            for o in range(O):
                y0[o] += a0 * w0[o] + a1 * w1[o] + a2 * w2[o] + a3 * w3[o]
    for r in range(R):
        y0 = y[r]
        for i in range(inputs, I):
            w0, a0 = w[i], x[r, i]
            for o in range(O):
                y0[o] += a0 * w0[o]


@compiled()
def add(y: Array, x: Array) -> None:
    """x (R, E) += y (R, E)."""
    for r in range(len(x)):
        for e in range(x.shape[1]):
            x[r, e] += y[r, e]


@compiled()
def gelu(x: Array) -> None:
    """GELU in place: x times the normal distribution up to x, 1 - erf's complement by formula 7.1.26 of Abramowitz and
    Stegun, whose error is below 2e-7. Unlike math.erf, its loop is vectorised."""
    R, N = x.shape
    for r in range(R):
        row = x[r]
        for i in range(N):
            v = row[i]
            u = min(abs(v) * f32(math.sqrt(0.5)), f32(9))
            t = f32(1) / (f32(1) + f32(0.3275911) * u)
            p = f32(1.061405429) * t - f32(1.453152027)
            p = (p * t + f32(1.421413741)) * t - f32(0.284496736)
            tail = f32(0.5) * (p * t + f32(0.254829592)) * t * exp(-u * u)  # the distribution up to -|x|
            row[i] = v * (f32(1) - tail if v > 0 else tail)


@compiled()
def rotate(qkv: Array, cos: Array, sin: Array, heads: int, t: int) -> None:
    """Turn the queries and keys in qkv (3 E,) of position t; cos and sin are (T, D / 2)."""
    half = cos.shape[1]
    for h in range(2 * heads):
        first, second = 2 * half * h, 2 * half * h + half
        for d in range(half):
            a, b = qkv[first + d], qkv[second + d]
            qkv[first + d] = a * cos[t, d] - b * sin[t, d]
            qkv[second + d] = b * cos[t, d] + a * sin[t, d]


@compiled()
def attend(qkv: Array, keys: Array, values: Array, t: int, scores: Array, y: Array) -> None:  # noqa: PLR0917
    """y (E,) = attention of position t, qkv (3 E,), to itself and all before it.

    Keys and values are (H, D, T), time last, so that loops over time are vectorised. Those of position t are added.
    """
    H, D = keys.shape[:2]
    E, n = H * D, t + 1
    scale = f32(1) / math.sqrt(f32(D))
    for h in range(H):
        k, v, at = keys[h], values[h], h * D
        for d in range(D):
            k[d, t] = qkv[E + at + d]
            v[d, t] = qkv[2 * E + at + d]
        for j in range(n):
            scores[j] = f32(0)
        for d in range(0, D, 2):
            q0, q1, k0, k1 = qkv[at + d] * scale, qkv[at + d + 1] * scale, k[d], k[d + 1]
            for j in range(n):
                scores[j] += q0 * k0[j] + q1 * k1[j]
        highest = scores[0]
        for j in range(n):
            highest = scores[j] if scores[j] > highest else highest
        total = f32(0)
        for j in range(n):
            p = exp(max(scores[j] - highest, f32(-80)))
            scores[j] = p
            total += p
        for d in range(0, D, 2):
            v0, v1, a0, a1 = v[d], v[d + 1], f32(0), f32(0)
            for j in range(n):
                a0 += scores[j] * v0[j]
                a1 += scores[j] * v1[j]
            y[at + d] = a0 / total
            y[at + d + 1] = a1 / total


@compiled()
def haar(x: Array, ring: Array, total: NDArray[np.float64], windows: NDArray[np.int64], t: int) -> None:
    """Replace input x (C,) of time t by the means of the windows, in place.

    `ring` (S,) holds the last inputs of one coordinate after another, as many as its window is long; the input of
    time t is at t % window. `total` (C,) holds their sums.
    """
    start = 0
    for c in range(len(x)):
        at = start + t % windows[c]
        total[c] += np.float64(x[c]) - np.float64(ring[at])  # what leaves the window; zero before the start
        ring[at] = x[c]
        x[c] = f32(total[c] / windows[c])
        start += windows[c]


@compiled()
def convolve(x: Array, ring: Array, kernels: Array, windows: NDArray[np.int64], t: int) -> None:
    """Replace input x (C,) of time t by the weighted sums of the windows, in place; `ring` as for `haar`.

    `kernels` (2 S,) holds each coordinate's kernel backwards and twice. So for every t a part of it is in the order of
    the ring: element i weighs the input of -i steps ago, modulo the window.
    """
    start = 0
    for c in range(len(x)):
        window = windows[c]
        now = t % window
        past = ring[start : start + window]
        past[now] = x[c]
        weights = kernels[2 * start + window - now : 2 * start + 2 * window - now]
        y = f32(0)
        for i in range(window):
            y += weights[i] * past[i]
        x[c] = y
        start += window


class Weights(NamedTuple):
    """The weights of a model, matrices as (inputs, outputs). Those of the blocks are stacked: (L, ...)."""

    embedding: Array
    positions: Array
    """Learned position embeddings (T, E); empty (0, E) if rotary."""
    cos: Array
    sin: Array
    """Rotary tables (T, D / 2); empty (0, E) if learned."""
    norm1: Array
    bias1: Array
    qkv: Array
    out: Array
    norm2: Array
    bias2: Array
    hidden_in: Array
    hidden_out: Array
    norm: Array
    bias: Array
    head: Array
    windows: NDArray[np.int64]
    """Window length of each filtered coordinate, (C,)."""
    kernels: Array
    """Kernels (L - 1, 2 S) as `convolve` takes them; empty unless the filter is FILTER."""


class Memory(NamedTuple):
    """What a model remembers of B streams."""

    keys: Array
    """(L, B, H, D, T)"""
    values: Array
    """(L, B, H, D, T)"""
    rings: Array
    """Last inputs of the filters, (L - 1, B, S)."""
    totals: NDArray[np.float64]
    """Running sums of `haar`, (L - 1, B, C)."""


class Scratch(NamedTuple):
    """Buffers for what lies between the layers, (R, width) each but `scores` (T,)."""

    x: Array
    y: Array
    branch: Array
    qkv: Array
    hidden: Array
    scores: Array


@compiled()
def read(  # noqa: PLR0917
    w: Weights,
    memory: Memory,
    scratch: Scratch,
    mixer: int,
    first: int,
    t: int,
    tokens: NDArray[np.int64],
    logits: Array,
) -> None:
    """Read tokens (B, P) at times t to t + P - 1 of the streams from `first` on; logits (B, V) after the last."""
    x, y, branch, qkv, hidden, scores = scratch
    keys, values, rings, totals = memory
    B, P = tokens.shape
    L, _, H = keys.shape[:3]
    E = w.embedding.shape[1]
    C = len(w.windows)
    for r in range(B * P):
        x[r] = w.embedding[tokens[r // P, r % P]]
        if len(w.positions):
            x[r] += w.positions[t + r % P]
    for block in range(L):
        layer_norm(x, w.norm1[block], w.bias1[block], y)
        linear(y, w.qkv[block], qkv)
        for r in range(B * P):
            stream, now = first + r // P, t + r % P
            if len(w.cos):
                rotate(qkv[r], w.cos, w.sin, H, now)
            attend(qkv[r], keys[block, stream], values[block, stream], now, scores, y[r])
        linear(y, w.out[block], branch)
        add(branch, x)
        layer_norm(x, w.norm2[block], w.bias2[block], y)
        linear(y, w.hidden_in[block], hidden)
        gelu(hidden)
        linear(hidden, w.hidden_out[block], branch)
        add(branch, x)
        if block < L - 1:
            for r in range(B * P):
                stream, now = first + r // P, t + r % P
                if mixer == HAAR:
                    haar(x[r, E - C :], rings[block, stream], totals[block, stream], w.windows, now)
                elif mixer == FILTER:
                    convolve(x[r, E - C :], rings[block, stream], w.kernels[block], w.windows, now)
    layer_norm(x, w.norm, w.bias, y)
    for b in range(B):
        x[b] = y[b * P + P - 1]
    linear(x[:B], w.head, logits)
