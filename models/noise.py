"""Noise for drawing tokens. Each value is a function of (seed, sample, step, token id) alone."""

import torch
from torch import Tensor

# Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


def philox(counters: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four random words for each counter of four words. Words are 0 .. 2**32 - 1 in int64; shapes broadcast."""
    a, b, c, d = counters
    k, m = key
    for _ in range(ROUNDS):
        low, high = _product(a, MULTIPLIERS[0])
        low2, high2 = _product(c, MULTIPLIERS[1])
        a, b, c, d = high2 ^ b ^ k, low2, high ^ d ^ m, low
        k, m = (k + KEY_STEPS[0]) & WORD, (m + KEY_STEPS[1]) & WORD
    return a, b, c, d


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Lower and upper word of x * factor. The product wraps around int64's sign, which the masks undo."""
    product = x * factor
    return product & WORD, (product >> 32) & WORD


def gumbel_noise(seed: int, samples: range, steps: range, n_tokens: int, device: torch.device | None = None) -> Tensor:
    """Standard Gumbel noise (steps, samples, n_tokens) float32.

    An element is a function of (seed, sample, step, token id) alone; it does not depend on the numbers of steps,
    samples or tokens. The argmax of logits plus this noise is a draw from their softmax (the Gumbel-max trick;
    Maddison et al., arXiv 1411.0030).

    Args:
        seed: 0 or more, below 2**64.
        samples: Sample numbers.
        steps: Step numbers.
        n_tokens: Vocabulary size.
        device: Where the noise is computed.
    """

    def count(numbers: range, dim: int) -> Tensor:
        shape = [1, 1, 1]
        shape[dim] = -1
        return torch.arange(numbers.start, numbers.stop, numbers.step, device=device).view(shape)

    step = count(steps, 0)
    four_tokens = count(range((n_tokens + 3) // 4), 2)
    counters = (four_tokens, count(samples, 1), step & WORD, step >> 32)
    words = torch.stack(philox(counters, (seed & WORD, seed >> 32)), dim=-1)  # (steps, samples, tokens / 4, 4)
    uniform = (words.flatten(2)[..., :n_tokens].double() + 0.5) / 2.0**32  # never 0 or 1
    return -torch.log(-torch.log(uniform)).float()
