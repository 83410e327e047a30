"""Generation, one token at a time, from ids to ids, to any length.

Shapes: B samples, P prompt positions, V vocabulary.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling


@dataclass(frozen=True)
class Step:
    """One new token of every sample."""

    ids: Tensor
    """(B,) int64, on the CPU."""
    log_probs: Tensor
    """(B,) natural logarithm of the probability that the model gave each id, before temperature and filters."""


def generate(
    model: GPT,
    prompt: Tensor,
    max_new_tokens: int | None = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Continue `prompt` (B, P) of ids, a `Step` at a time, endlessly if `max_new_tokens` is None.

    Tokens are drawn by the Gumbel-max trick: the noise depends on (seed, sample, step) alone, so the same seed
    gives the same ids, a sample does not depend on how many are made beside it, and two models of one vocabulary
    given the same seed differ only where they disagree. Temperature 0 takes the likeliest token. A cache makes
    every step cost the same; when the context is full, its last half is read anew and generation goes on.

    Raises InputError, before the first step, for a prompt without tokens, ids outside the vocabulary, or
    settings out of range.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p)
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more")
    if max_new_tokens is not None and max_new_tokens < 0:
        raise InputError(f"the length is {max_new_tokens}; it must be 0 or more")
    if prompt.ndim != 2 or 0 in prompt.shape:
        raise InputError(f"the prompt has shape {tuple(prompt.shape)}; at least one token is needed")
    if not 0 <= int(prompt.min()) <= int(prompt.max()) < model.config.vocab_size:
        raise InputError(f"the prompt holds ids outside the model's vocabulary of {model.config.vocab_size}")

    return _steps(model, prompt, max_new_tokens, sampling, seed)


@torch.inference_mode()
def _steps(model: GPT, prompt: Tensor, max_new_tokens: int | None, sampling: Sampling, seed: int) -> Iterator[Step]:
    block_size, device = model.config.block_size, model.embedding.weight.device
    noise = [sample_noise(seed, sample) for sample in range(len(prompt))]
    state = model.new_state(len(prompt))
    context = unread = prompt[:, -block_size:].cpu()
    for _ in itertools.count() if max_new_tokens is None else range(max_new_tokens):
        if state.length + unread.shape[1] > block_size:
            state = model.new_state(len(prompt))
            context = unread = context[:, -(block_size // 2) :]
        logits = model(unread.to(device), state)[:, -1].float().cpu()  # (B, V)
        gumbel = np.stack([stream.gumbel(size=logits.shape[-1]) for stream in noise])
        ids = (sampling.filter(logits) + torch.from_numpy(gumbel)).argmax(-1)
        yield Step(ids, logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0])
        unread = ids[:, None]
        context = torch.cat([context, unread], dim=1)


def sample_noise(seed: int, sample: int) -> np.random.Generator:
    """The source of one sample's noise, independent of every other (seed, sample)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, sample])))
