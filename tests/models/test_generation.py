"""Generation's randomness, scores and errors. Its engines are tested in test_decode_engines.py."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models import generation
from waveletgpt.models.decoding import Engine
from waveletgpt.models.generation import Step, context_start, first_divergence, generate, score, windows
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.wavelet import KINDS

EVERY_ENGINE: tuple[Engine, ...] = ("eager", "fused", "graph")
TINY = GPTConfig(vocab_size=11, block_size=16, n_layer=3, n_head=2, n_embd=8, n_hidden=12, n_levels=3)
PROMPT = torch.tensor([[1, 2, 3]])
NO_PROMPT = torch.zeros(1, 0, dtype=torch.long)


def gpt(seed: int = 0, **changes: Any) -> GPT:
    """A tiny model whose weights are large enough that every part of it counts."""
    torch.manual_seed(seed)
    model = GPT(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


def without_preferences(**changes: Any) -> GPT:
    """A model whose logits are all 0."""
    model = gpt(**changes)
    with torch.no_grad():
        model.head.weight.zero_()
    return model


def joined(steps: Iterator[Step]) -> tuple[Tensor, Tensor]:
    """New ids and their log-probabilities, (B, length) each."""
    made = list(steps)
    return torch.stack([step.ids for step in made], dim=1), torch.stack([step.log_probs for step in made], dim=1)


def ids(model: GPT, prompt: Tensor, length: int, **settings: Any) -> Tensor:
    """The new ids (B, length)."""
    return joined(generate(model, prompt, length, **settings))[0]


@given(st.integers(0, 10**9), st.integers(1, 10**5))
def test_the_context_is_all_that_came_before_or_from_half_a_block_to_a_whole_one(
    position: int, block_size: int
) -> None:
    start, half = context_start(position, block_size), max(1, block_size // 2)
    held = position - start
    if position <= block_size:
        assert start == 0
    else:
        assert start % half == 0
        assert block_size - half < held <= block_size
    following = context_start(position + 1, block_size)
    assert following - start == (half if held == block_size else 0)  # tokens are read again only when the block is full


@given(st.integers(0, 200), st.integers(1, 40))
def test_windows_give_what_follows_each_token_from_its_context(length: int, block_size: int) -> None:
    given = [(start, t) for start, first, end in windows(length, block_size) for t in range(first, end)]
    assert given == [(context_start(t + 1, block_size), t) for t in range(length)]


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_temperature_0_takes_the_likeliest_token_whatever_the_seed(engine: Engine) -> None:
    model = gpt()
    likeliest: list[int] = []
    greedy = ids(model, PROMPT, 13, temperature=0, seed=1, engine=engine)
    for _ in range(13):
        likeliest.append(int(model(torch.tensor([PROMPT[0].tolist() + likeliest]))[0, -1].argmax()))
    assert greedy[0].tolist() == likeliest
    assert torch.equal(greedy, ids(model, PROMPT, 13, temperature=0, seed=2))
    assert torch.equal(greedy, ids(model, PROMPT, 13, temperature=1e-40))
    assert torch.equal(greedy, ids(model, PROMPT, 13, top_k=1))


@pytest.mark.parametrize("mixer", KINDS)
def test_the_same_seed_gives_the_same_bits_and_every_engine_the_same_ids(mixer: str) -> None:
    model = gpt(mixer=mixer)
    settings: dict[str, Any] = {"seed": 2**63 + 1, "samples": 3, "temperature": 0.9, "top_p": 0.95}
    found = {}
    for engine in EVERY_ENGINE:
        found[engine], log_probs = joined(generate(model, PROMPT, 50, engine=engine, **settings))
        again, log_probs_again = joined(generate(model, PROMPT, 50, engine=engine, **settings))
        assert torch.equal(found[engine], again)
        assert torch.equal(log_probs, log_probs_again)
    assert torch.equal(found["eager"], found["fused"])
    assert torch.equal(found["eager"], found["graph"])


def test_the_seed_decides() -> None:
    seeds = [*range(18), 2**32, 2**63 + 1]
    assert len({tuple(ids(gpt(), PROMPT, 50, seed=seed)[0].tolist()) for seed in seeds}) == 20


def test_generation_leaves_the_global_random_state_alone() -> None:
    model = gpt()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    ids(model, PROMPT, 5)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_a_sample_does_not_depend_on_how_many_are_beside_it(engine: Engine) -> None:
    """Samples of one prompt equal samples of separate, equal prompts."""
    model = gpt(mixer="haar")
    together = ids(model, PROMPT, 40, seed=3, samples=5, engine=engine)
    for count in (1, 2, 4):
        assert torch.equal(ids(model, PROMPT, 40, seed=3, samples=count, engine=engine), together[:count])
        assert torch.equal(ids(model, PROMPT.repeat(count, 1), 40, seed=3, engine=engine), together[:count])
    assert len({tuple(row.tolist()) for row in together}) == 5


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_samples_and_steps_can_be_asked_for_by_number(engine: Engine) -> None:
    """One sample alone, and the rest of a sample, are parts of all samples."""
    model, prompt = gpt(mixer="haar"), torch.tensor([[3, 1]])
    every = ids(model, prompt, 40, seed=5, samples=4, engine=engine)
    third = ids(model, prompt, 40, seed=5, samples=range(2, 3), engine=engine)
    assert torch.equal(third, every[2:3])
    so_far = torch.cat([prompt, third[:, :25]], dim=1)
    rest = ids(model, so_far, 15, seed=5, samples=range(2, 3), first_step=25, engine=engine)
    assert torch.equal(rest, third[:, 25:])


def test_samples_follow_one_another_as_repeated_prompts_do() -> None:
    prompts = torch.tensor([[1, 2], [3, 4]])
    expected = ids(gpt(), prompts.repeat(3, 1), 20)
    assert torch.equal(ids(gpt(), prompts, 20, samples=3), expected)
    assert not torch.equal(expected[0], expected[2])


def test_models_that_agree_draw_the_same_ids() -> None:
    """Models with equal logits draw equal ids, whatever their mixer, because a seed gives all models the same noise."""
    twins = [ids(gpt(mixer=mixer), PROMPT, 60) for mixer in ("haar", "learnable")]  # kernels start as Haar's
    assert first_divergence(twins[0][0], twins[1][0]) is None
    near = gpt()
    with torch.no_grad():
        near.head.weight += 0.01 * torch.randn_like(near.head.weight)
    own, paired, other = (
        ids(model, PROMPT, 1, samples=50, seed=seed) for model, seed in ((gpt(), 0), (near, 0), (near, 1))
    )
    assert (own == paired).float().mean() > 0.95
    assert (own == other).float().mean() < 0.5


def test_models_of_different_vocabularies_share_the_noise_of_common_ids() -> None:
    small, large = (ids(without_preferences(vocab_size=V), NO_PROMPT, 300)[0] for V in (11, 14))
    common = large < 11
    assert torch.equal(large[common], small[common])
    assert 200 < common.sum() < 270  # 236 on average


def test_noise_is_made_ahead_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids do not depend on how many steps' noise is made at once."""
    expected = ids(gpt(), PROMPT, 30, seed=5, samples=2)
    for elements in (1, 22, 77, 22 * 29):
        monkeypatch.setattr(generation, "NOISE_AT_ONCE", elements)
        assert torch.equal(ids(gpt(), PROMPT, 30, seed=5, samples=2), expected)


@pytest.mark.parametrize(
    ("a", "b", "where"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2, 3], [1, 2, 4], 2),
        ([1, 2, 3], [0, 2, 4], 0),
        ([1, 2, 3], [1, 2], None),
        ([1], [1, 5, 6], None),
        ([1, 2, 3], [1, 3], 1),
        ([], [1], None),
    ],
)
def test_first_divergence(a: list[int], b: list[int], where: int | None) -> None:
    assert first_divergence(torch.tensor(a), torch.tensor(b)) == where


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_have_the_model_s_distribution(temperature: float) -> None:
    """A chi-square test of 4000 samples with a fixed seed; 29.6 is exceeded with probability 0.001."""
    model, count = gpt(), 4000
    drawn = ids(model, PROMPT, 1, samples=count, temperature=temperature, seed=11)[:, 0]
    probabilities = (model(PROMPT)[0, -1].detach().double() / temperature).softmax(-1)
    expected = probabilities * count
    assert expected.min() > 5
    chi_square = ((torch.bincount(drawn, minlength=11) - expected) ** 2 / expected).sum()
    assert chi_square < 29.6  # 10 degrees of freedom
    assert chi_square > 1.5  # a smaller value would be too good for chance


def test_successive_steps_draw_independent_noise() -> None:
    """A model whose logits are all equal gives uniform ids, over the steps of one sample too."""
    drawn = ids(without_preferences(), PROMPT, 2000)[0]
    expected = 2000 / 11
    assert ((torch.bincount(drawn, minlength=11) - expected) ** 2 / expected).sum() < 29.6
    pairs = torch.bincount(drawn[:-1] * 11 + drawn[1:], minlength=121)
    assert ((pairs - 1999 / 121) ** 2 / (1999 / 121)).sum() < 173.6  # 120 degrees of freedom, 0.001


def test_ids_ruled_out_are_never_drawn() -> None:
    model = gpt()
    likeliest = set(model(PROMPT)[0, -1].topk(2).indices.tolist())
    drawn = set(ids(model, PROMPT, 1, samples=300, top_k=2)[:, 0].tolist())
    assert drawn == likeliest


def test_steps_hold_ids_and_log_probabilities_of_every_sample() -> None:
    for step in generate(gpt(), PROMPT.repeat(3, 1), 20):
        assert isinstance(step, Step)
        assert step.ids.shape == step.log_probs.shape == (3,)
        assert step.ids.dtype == torch.int64
        assert (step.log_probs <= 0).all()


def test_length_0_gives_nothing_and_no_length_gives_no_end() -> None:
    model = gpt()
    assert list(generate(model, PROMPT, 0)) == []
    for engine in EVERY_ENGINE:
        endless, _ = joined(itertools.islice(generate(model, PROMPT, seed=2, engine=engine), 200))
        assert torch.equal(endless, ids(model, PROMPT, 200, seed=2))
        assert torch.equal(endless[:, :70], ids(model, PROMPT, 70, seed=2, engine=engine))


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.3}, {"temperature": 0}, {"top_k": 2}, {"top_p": 0.3}, {"min_p": 0.9}, {"repetition_penalty": 9}],
)
def test_log_probabilities_are_the_model_s_own_before_all_settings(engine: Engine, settings: dict[str, Any]) -> None:
    model = gpt()
    new, log_probs = joined(generate(model, PROMPT, 10, samples=2, engine=engine, **settings))
    own = model(torch.cat([PROMPT.repeat(2, 1), new], dim=1)).detach().log_softmax(-1)[:, 2:-1]
    torch.testing.assert_close(log_probs, own.gather(-1, new[..., None])[..., 0], rtol=0, atol=1e-5)


@torch.no_grad()
def full_scores(model: GPT, tokens: Tensor) -> Tensor:
    """The expected result of `score`, by one full pass for each token."""
    columns = [torch.full((len(tokens),), -math.log(model.config.vocab_size))]
    for t in range(1, tokens.shape[1]):
        context = tokens[:, context_start(t, model.config.block_size) : t]
        columns.append(model(context)[:, -1].log_softmax(-1).gather(-1, tokens[:, t : t + 1])[:, 0])
    return torch.stack(columns, dim=1)[:, : tokens.shape[1]]


@pytest.mark.parametrize("mixer", KINDS)
@pytest.mark.parametrize("block_size", [16, pytest.param(9, marks=pytest.mark.slow)])
@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 16, 17, 18, 24, 25, 26, 60])
def test_scores_equal_full_passes(mixer: str, block_size: int, length: int) -> None:
    """The sequences are random, and there are more of them than `score` reads at once."""
    model, tokens = gpt(mixer=mixer, block_size=block_size), torch.randint(11, (generation.WINDOWS_AT_ONCE + 1, length))
    found = score(model, tokens)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, full_scores(model, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize(
    "prompt_length", [0, 16, 40, *(pytest.param(length, marks=pytest.mark.slow) for length in (1, 3, 15, 17))]
)
@pytest.mark.parametrize("mixer", KINDS)
def test_scores_equal_the_log_probabilities_of_generation(mixer: str, prompt_length: int, engine: Engine) -> None:
    model, prompt = gpt(mixer=mixer, positions="learned"), torch.randint(11, (2, prompt_length))
    settings: dict[str, Any] = {"temperature": 1.3, "top_k": 9, "repetition_penalty": 1.2}
    new, log_probs = joined(generate(model, prompt, 40, samples=2, engine=engine, **settings))
    found = score(model, torch.cat([prompt.repeat(2, 1), new], dim=1))
    torch.testing.assert_close(found[:, prompt_length:], log_probs, rtol=0, atol=1e-5)


def test_one_model_scores_what_another_wrote() -> None:
    """On average, no model gives a text a higher probability than the model that wrote it (Gibbs)."""
    author, reader = gpt(), gpt(seed=1)
    new, log_probs = joined(generate(author, NO_PROMPT, 100, samples=20))
    torch.testing.assert_close(score(author, new), log_probs, rtol=0, atol=1e-5)
    assert score(reader, new).mean() < log_probs.mean() - 0.1


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_repetition_is_penalized_in_each_sample_by_itself(engine: Engine) -> None:
    """The model gives tokens 5, 6 and 7 the logits 9, 8 and 7 and all others 0, for any input."""
    model = gpt(n_layer=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.norm.bias[0] = 1.0
        model.head.weight[:, 0] = torch.tensor([0.0, 0, 0, 0, 0, 9, 8, 7, 0, 0, 0])
    prompts = torch.tensor([[1], [5]])
    made = ids(model, prompts, 4, temperature=0, repetition_penalty=2.0, engine=engine)
    assert made.tolist() == [[5, 6, 7, 5], [6, 7, 5, 5]]
    long = torch.tensor([[5] + 30 * [1]])  # token 5 is earlier than the context
    assert ids(model, long, 1, temperature=0, repetition_penalty=2.0, engine=engine).tolist() == [[6]]
    assert ids(model, prompts, 2, temperature=0, engine=engine).tolist() == [[5, 5], [5, 5]]


def test_generation_builds_no_graph_and_leaves_gradients_on_outside() -> None:
    model = gpt()
    for step in generate(model, PROMPT, 3):
        assert not step.log_probs.requires_grad
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        (torch.zeros(0, 3, dtype=torch.long), {}, "prompt"),
        (torch.zeros(3, dtype=torch.long), {}, "prompt"),
        (torch.tensor([[1, 11]]), {}, "vocabulary of 11"),
        (torch.tensor([[-1]]), {}, "vocabulary of 11"),
        (torch.tensor([[1.5]]), {}, "vocabulary of 11"),
        (torch.tensor([[math.nan]]), {}, "vocabulary of 11"),
        (PROMPT, {"temperature": -1.0}, "temperature"),
        (PROMPT, {"temperature": math.nan}, "temperature"),
        (PROMPT, {"top_k": 0}, "top-k"),
        (PROMPT, {"top_p": 2.0}, "top-p"),
        (PROMPT, {"min_p": -1.0}, "min-p"),
        (PROMPT, {"repetition_penalty": 0.0}, "repetition penalty"),
        (PROMPT, {"seed": -1}, "seed"),
        (PROMPT, {"seed": 2**64}, "seed"),
        (PROMPT, {"samples": 0}, "samples"),
        (PROMPT, {"engine": "quick"}, "choose one of auto, eager, fused, graph"),
        (PROMPT, {"max_new_tokens": -1}, "length"),
    ],
)
def test_bad_input_is_refused_before_the_first_step(prompt: Tensor, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        generate(gpt(), prompt, **settings)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("given_as", [torch.int32, torch.uint8, torch.float32])
def test_whole_numbers_of_any_type_are_ids(engine: Engine, given_as: torch.dtype) -> None:
    expected = ids(gpt(), PROMPT, 20, repetition_penalty=1.1)
    assert torch.equal(ids(gpt(), PROMPT.to(given_as), 20, repetition_penalty=1.1, engine=engine), expected)
    assert torch.equal(score(gpt(), PROMPT.to(given_as)), score(gpt(), PROMPT))


@pytest.mark.parametrize(
    "tokens", [torch.tensor([1, 2]), torch.tensor([[11]]), torch.tensor([[-1]]), torch.ones(1, 1, 1)]
)
def test_what_cannot_be_scored_is_refused(tokens: Tensor) -> None:
    with pytest.raises(InputError) as refusal:
        score(gpt(), tokens)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("prompt", [PROMPT, NO_PROMPT])
def test_probabilities_that_overflow_are_an_error(engine: Engine, prompt: Tensor) -> None:
    model = gpt()
    with torch.no_grad():
        model.norm.bias.fill_(1e38)
        model.head.weight.fill_(10)  # finite, but not the products
    with pytest.raises(InputError, match="probabilities are not finite"):
        ids(model, prompt, 8, engine=engine)
