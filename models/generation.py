"""Generation from ids to ids, one token at a time, to any length; and the probability of given ids under a model.

Shapes: B samples, P prompt positions, T tokens, V vocabulary.
"""

import itertools
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.decoding import Decoder, Engine, context_start, decode_ahead, make_decoder, warm_up, windows
from waveletgpt.models.gpt import GPT
from waveletgpt.models.noise import gumbel_noise
from waveletgpt.models.sampling import Sampling, seen_tokens

__all__ = ["Step", "context_start", "first_divergence", "generate", "next_probabilities", "score", "warm_up", "windows"]

NOISE_AT_ONCE = 1 << 16
"""Elements of noise made at once, which is cheaper than step by step."""
WINDOWS_AT_ONCE = 8
"""Batch size of `score`."""


@dataclass(frozen=True)
class Step:
    """One new token of every sample."""

    ids: Tensor
    """(B,) int64, on the CPU."""
    log_probs: Tensor
    """(B,) natural logarithm of the probability of each id under the model, before temperature and filters."""


def generate(
    model: GPT,
    prompt: Tensor,
    max_new_tokens: int | None = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    samples: int | range = 1,
    first_step: int = 0,
    engine: Engine = "auto",
) -> Iterator[Step]:
    """Continue `prompt` (P0, P) of ids, one `Step` at a time.

    Each prompt is read once and continued `samples` times: B = P0 * samples streams, in the order of
    `prompt.repeat(samples, 1)`. Without a prompt (P = 0) the first token is drawn from a uniform distribution. The
    context begins at `context_start`; decoding equals a full pass over it.

    Tokens are drawn by the Gumbel-max trick. Its noise depends on (seed, sample, step, token id) alone
    (`gumbel_noise`). So the same seed gives the same ids, a sample does not depend on the number of samples, and two
    models with the same vocabulary, prompt and seed differ only where they disagree (`first_divergence`). For the same
    reason `samples=range(2, 3)` gives sample 2 alone. A prompt with N generated tokens at its end and `first_step=N`
    give the tokens that one longer call would have given, but for rounding.

    Args:
        model: The model, on any device.
        prompt: Ids (P0, P).
        max_new_tokens: Number of tokens; None for no end.
        temperature, top_k, top_p, min_p, repetition_penalty, seed: See `Sampling`.
        samples: Number of continuations of each prompt, or the numbers of those wanted.
        first_step: Number of the first step.
        engine: How to decode, see `models.decoding`. All engines give the same ids.

    Returns:
        An iterator. Closing it stops the work and frees the memory.

    Raises:
        InputError: Ids are outside the vocabulary or a setting is out of range; raised before the first step. Or the
            probabilities of a step are not finite.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed)
    if max_new_tokens is not None and max_new_tokens < 0:
        raise InputError(f"the length is {max_new_tokens}; it must be 0 or more")
    if isinstance(samples, int):
        if samples < 1:
            raise InputError(f"the number of samples is {samples}; it must be 1 or more")
        samples = range(samples)
    if prompt.ndim != 2 or not len(prompt):
        raise InputError(f"the prompt has shape {tuple(prompt.shape)}; it must be (prompts, ids), not empty of prompts")
    prompt = _checked(prompt, model)
    if engine in ("graph", "compiled") or (engine == "auto" and model.embedding.weight.device.type == "cuda"):
        compiled = engine == "compiled"
        return _as_steps(decode_ahead(model, prompt, max_new_tokens, sampling, samples, first_step, compiled=compiled))
    decoder = make_decoder(model, engine)
    return _as_steps(_decode(model, decoder, prompt, max_new_tokens, sampling, samples, first_step))


def _as_steps(drawn: Generator[tuple[Tensor, Tensor], None, None]) -> Iterator[Step]:
    with closing(drawn):
        for ids, log_probs in drawn:
            if log_probs.isnan().any():
                raise InputError("the model's probabilities are not finite: its weights are too large, or damaged")
            yield Step(ids, log_probs)


@torch.inference_mode()
def _decode(  # noqa: PLR0917
    model: GPT,
    decoder: Decoder,
    prompt: Tensor,
    max_new_tokens: int | None,
    sampling: Sampling,
    samples: range,
    first_step: int,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yields ids and log-probabilities (B,), one token after another."""
    B, V, device = len(prompt) * len(samples), model.config.vocab_size, model.embedding.weight.device
    streams = range(len(prompt) * samples.start, len(prompt) * samples.stop)
    block_size, length = model.config.block_size, prompt.shape[1]
    start = context_start(length, block_size)
    logits = decoder.read(prompt[:, start:], len(samples)) if length else torch.zeros(B, V, device=device)
    context = list(prompt[:, start:].repeat(len(samples), 1).unbind(1))  # (B,) each
    seen = seen_tokens(prompt, len(samples), V).to(device) if sampling.penalizes else None
    ahead = max(1, NOISE_AT_ONCE // (B * V))
    ids = torch.empty(0, dtype=torch.long)
    for step in itertools.count() if max_new_tokens is None else range(max_new_tokens):
        if step:
            context.append(ids)
            length += 1
            if context_start(length, block_size) == start and length > 1:
                logits = decoder.step(ids)
            else:
                context = context[context_start(length, block_size) - start :]
                start = context_start(length, block_size)
                logits = decoder.read(torch.stack(context, dim=1))
        if step % ahead == 0:
            first = first_step + step
            noise = gumbel_noise(sampling.seed, streams, range(first, first + ahead), V, device)
        new, log_probs = sampling.draw(logits, noise[step % ahead], seen)
        ids = new.cpu()
        yield ids, log_probs.cpu()


@torch.inference_mode()
def score(model: GPT, ids: Tensor) -> Tensor:
    """Log-probabilities (B, T) float32, on the CPU, of each of `ids` (B, T) under a model.

    Each is predicted from its context (`context_start`), so they equal the `log_probs` that `generate` yields for the
    same tokens. The first token has probability 1 / V.

    Raises:
        InputError: Ids are outside the vocabulary.
    """
    ids = _checked(ids, model)
    T, block_size, device = ids.shape[1], model.config.block_size, model.embedding.weight.device
    log_probs = torch.full(ids.shape, -math.log(model.config.vocab_size))
    for start, first, end in windows(T - 1, block_size) if T > 1 else ():
        for rows in range(0, len(ids), WINDOWS_AT_ONCE):
            some = ids[rows : rows + WINDOWS_AT_ONCE].to(device)
            logits = model(some[:, start:end])[:, first - start :].float()
            known = some[:, first + 1 : end + 1, None]
            log_probs[rows : rows + WINDOWS_AT_ONCE, first + 1 : end + 1] = (
                logits.log_softmax(-1).gather(-1, known)[..., 0].cpu()
            )
    return log_probs


@torch.inference_mode()
def next_probabilities(model: GPT, ids: Tensor) -> Tensor:
    """Probabilities (V,) float32, on the CPU, of the token that follows `ids` (T,), T > 0, in its context.

    Raises:
        InputError: Ids are outside the vocabulary.
    """
    whole = _checked(ids[None], model)
    start = context_start(len(ids), model.config.block_size)
    logits: Tensor = model(whole[:, start:].to(model.embedding.weight.device))[0, -1]
    return logits.float().softmax(-1).cpu()


def first_divergence(a: Tensor, b: Tensor) -> int | None:
    """Index of the first position where ids (N,) and (M,) differ; None if they agree as far as both go."""
    both = min(len(a), len(b))
    differ = (a[:both] != b[:both]).nonzero()
    return int(differ[0]) if len(differ) else None


def _checked(ids: Tensor, model: GPT) -> Tensor:
    """`ids` (B, T) as int64 on the CPU."""
    if ids.ndim != 2:
        raise InputError(f"the ids have shape {tuple(ids.shape)}; it must be (sequences, ids)")
    given, whole, V = ids.cpu(), ids.cpu().long(), model.config.vocab_size
    if not ((given == whole) & (whole >= 0) & (whole < V)).all():
        raise InputError(f"there are ids outside the model's vocabulary of {V}")
    return whole
