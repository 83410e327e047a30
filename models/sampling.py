"""Drawing tokens. Filters are pure functions from logits (B, V) to logits (B, V); -inf rules a token out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError, quoted

RULED_OUT = float("-inf")


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Sharpen (below 1) or flatten (above 1) the distribution; `temperature` must be above 0.

    The highest logit becomes 0 first, so that no temperature is too low to divide by.
    """
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that are `seen` (B, V, boolean) less likely, for a `penalty` above 1.

    Positive logits are divided by the penalty, negative ones multiplied (CTRL, arXiv 1909.05858, section 4.1).
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_likeliest(logits: Tensor) -> Tensor:
    """Keep only the likeliest token, the first one in a tie."""
    likeliest = logits.argmax(-1, keepdim=True)
    return torch.full_like(logits, RULED_OUT).scatter_(-1, likeliest, logits.gather(-1, likeliest))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens, the first ones in a tie; all of them if k >= V."""
    order = logits.argsort(dim=-1, descending=True, stable=True)[..., :k]
    return torch.full_like(logits, RULED_OUT).scatter_(-1, order, logits.gather(-1, order))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities sum to at least p (Holtzman et al., arXiv 1904.09751)."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.double().softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what likelier tokens sum to; 0 for the likeliest
    ordered = ordered.masked_fill(before >= p, RULED_OUT)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as probable as the likeliest one (Nguyen et al., arXiv 2407.01082)."""
    log_probs = logits.log_softmax(-1)
    floor = log_probs.amax(-1, keepdim=True) + (math.log(p) if p else RULED_OUT)
    return logits.masked_fill(log_probs < floor, RULED_OUT)


def seen_tokens(prompt: Tensor, samples: int, vocab_size: int) -> Tensor:
    """Which tokens each prompt (P0, P) holds, (P0 * samples, V) boolean. `Sampling.draw` marks further ones."""
    seen = torch.zeros(len(prompt), vocab_size, dtype=torch.bool)
    return seen.scatter_(-1, prompt, value=True).repeat(samples, 1)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: repetition penalty, temperature, then top-k, top-p and min-p where they are set.

    Raises:
        InputError: A setting is out of range.
    """

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    """Applied to every token that the prompt or the sample already holds; 1 is none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {quoted(self.temperature)}; it must be 0 (the likeliest token) or more")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k is {quoted(self.top_k)}; it must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {quoted(self.top_p)}; it must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InputError(f"min-p is {quoted(self.min_p)}; it must be from 0 to 1")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(f"repetition penalty is {quoted(self.repetition_penalty)}; it must be above 0 (1 is none)")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed is {quoted(self.seed)}; it must be 0 or more and below 2**64")

    @property
    def penalizes(self) -> bool:
        """Whether the repetition penalty is on."""
        return self.repetition_penalty != 1

    def filter(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """The logits (B, V) that tokens are drawn from. `seen` (B, V) marks the tokens so far."""
        if self.penalizes and seen is not None:
            logits = penalize_repetition(logits, seen, self.repetition_penalty)
        if self.temperature == 0:
            return keep_likeliest(logits)
        if self.temperature != 1:
            logits = apply_temperature(logits, self.temperature)
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits

    def draw(self, logits: Tensor, noise: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw ids (B,) with Gumbel `noise` (B, V), and mark them in `seen`.

        Returns:
            The ids, and their log-probabilities (B,) before all settings.
        """
        ids = (self.filter(logits, seen) + noise).argmax(-1)
        if seen is not None:
            seen.scatter_(-1, ids[:, None], value=True)
        return ids, logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
