"""The loops of `models.filters.lagged`, compiled by numba.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), N taps, S lags of the running sum.
"""

import numpy as np
from numpy.typing import NDArray

from waveletgpt.models.kernels import Array, compiled


@compiled()
def add_product(y: Array, a: Array, b: Array) -> None:
    """y (C,) += a * b."""
    for c in range(len(y)):
        y[c] += a[c] * b[c]


@compiled()
def add(y: Array, a: Array, b: Array) -> None:
    """y (C,) = a + b."""
    for c in range(len(y)):
        y[c] = a[c] + b[c]


@compiled()
def lagged_sums(x: Array, taps: Array, sums: Array, lags: NDArray[np.int64], y: Array) -> None:
    """y (B, T, E) = x[t] + sum of taps[n] x[t - n] + sum of sums[s] (x[0] + ... + x[t - lags[s]])."""
    B, T, E = x.shape
    N, C = taps.shape
    running = np.zeros((T + 1, C), np.float32)  # row t + 1: x[0] + ... + x[t]
    for b in range(B):
        for t in range(T):
            y[b, t] = x[b, t]
            mixed = y[b, t, E - C :]
            for n in range(min(N, t + 1)):
                add_product(mixed, taps[n], x[b, t - n, E - C :])
            if len(lags):
                add(running[t + 1], running[t], x[b, t, E - C :])
            for s, lag in enumerate(lags):
                if lag <= t:
                    add_product(mixed, sums[s], running[t - lag + 1])


@compiled()
def lagged_gradients(  # noqa: PLR0917
    x: Array,
    grad: Array,
    taps: Array,
    sums: Array,
    lags: NDArray[np.int64],
    grad_x: Array,
    grad_taps: Array,
    grad_sums: Array,
) -> None:
    """The gradients of `lagged_sums` for the gradient grad (B, T, E) of its result: grad_x (B, T, E), and those of the
    weights, added to grad_taps (B, N, C) and grad_sums (B, S, C) for each of the batch.
    """
    B, T, E = x.shape
    N, C = taps.shape
    running = np.zeros((T + 1, C), np.float32)
    for b in range(B):
        for t in range(T):
            for n in range(min(N, t + 1)):
                add_product(grad_taps[b, n], grad[b, t, E - C :], x[b, t - n, E - C :])
            if len(lags):
                add(running[t + 1], running[t], x[b, t, E - C :])
            for s, lag in enumerate(lags):
                if lag <= t:
                    add_product(grad_sums[b, s], grad[b, t, E - C :], running[t - lag + 1])
        ahead = np.zeros(C, np.float32)  # what the running sums from t on add to the gradient
        for t in range(T - 1, -1, -1):
            for s, lag in enumerate(lags):
                if t + lag < T:
                    add_product(ahead, sums[s], grad[b, t + lag, E - C :])
            grad_x[b, t] = grad[b, t]
            mixed = grad_x[b, t, E - C :]
            add(mixed, mixed, ahead)
            for n in range(min(N, T - t)):
                add_product(mixed, taps[n], grad[b, t + n, E - C :])
