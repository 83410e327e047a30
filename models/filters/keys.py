"""Layers on the keys of a block alone.

Shapes: B batch, T time, E embedding, H heads, D = E / H.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from waveletgpt.models.filters.base import CausalFilter
from waveletgpt.models.filters.convolution import delayed
from waveletgpt.models.wavelet import haar_averages


class KeyOffset(CausalFilter):
    """Half of each head's keys become the mean of the keys of the tokens before: head h looks at `spans[h]` of them.

    So a query meets what followed what it looks for, within one block (key offset in modded-nanogpt). The half are the
    pairs (i, i + D / 2) with i >= D / 4, which `positions="half-rope"` leaves unrotated.

    Args:
        n_embd: Number of coordinates E, a multiple of 4 H.
        spans: Number of earlier keys for each of the H heads: powers of two, in rising order.
    """

    weights: Tensor

    def __init__(self, n_embd: int, spans: list[int]) -> None:
        super().__init__([spans[-1] + 1] * n_embd)
        self.shape = len(spans), 2, 2, n_embd // (4 * len(spans))  # head, of a pair, kept or replaced, D / 4
        self.windows = [span for span in spans for _ in range(n_embd // (2 * len(spans)))]
        self.register_buffer("weights", 1 / torch.tensor(self.windows), persistent=False)  # (E / 2,)

    def kernel_matrix(self) -> Tensor:
        """The kernels (E, W). Column m weighs the key m steps ago."""
        lags, weights = torch.arange(self.window, device=self.weights.device), self.weights[:, None]
        means = weights * ((lags > 0) & (lags * weights <= 1))  # (E / 2, W)
        kept = (lags == 0).expand_as(means).to(means)
        H, _, _, quarter = self.shape
        parts = [half.view(H, 2, 1, quarter, -1) for half in (kept, means)]
        return torch.cat(parts, dim=2).flatten(0, 3)

    def mix(self, x: Tensor) -> Tensor:
        """Mix the keys x (B, T, E) over time."""
        kept, old = x.view(*x.shape[:2], *self.shape).unbind(-2)  # each (B, T, H, 2, D / 4)
        means = haar_averages(delayed(old.flatten(2), 1), self.windows, self.weights)  # (B, T, E / 2)
        return torch.stack([kept, means.view_as(kept)], dim=-2).flatten(2)


KeyBuilder = Callable[[int, int, int], nn.Module]
"""Builds a layer from `n_embd`, `n_head` and `n_levels`."""

KEY_MIXERS: dict[str, KeyBuilder] = {
    "key-offset": lambda n_embd, n_head, _: KeyOffset(n_embd, [1] * n_head),
    "key-means": lambda n_embd, n_head, n_levels: KeyOffset(n_embd, [2 ** min(h, n_levels - 1) for h in range(n_head)]),
}
"""Layers on keys, by the name that `GPTConfig.mixer` gives them."""
