import gc
import itertools
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate, sample_noise
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import MIXERS

torch.set_num_threads(1)

TINY = GPTConfig(vocab_size=11, block_size=16, n_layer=3, n_head=2, n_embd=8, n_hidden=12, n_levels=3)
PROMPT = torch.tensor([[1, 2, 3]])


def gpt(seed: int = 0, **changes: Any) -> GPT:
    torch.manual_seed(seed)
    model = GPT(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


def ids(model: GPT, prompt: Tensor, length: int, **settings: Any) -> Tensor:
    """The new ids (B, length)."""
    return torch.stack([step.ids for step in generate(model, prompt, length, **settings)], dim=1)


def slowly(model: GPT, prompt: Tensor, length: int, temperature: float, seed: int) -> tuple[Tensor, Tensor]:
    """What `generate` promises, without a cache: a full pass for every token over the context, which is cut to
    its last half when it is full. New ids and their log-probabilities, (B, length) each.
    """
    size = model.config.block_size
    noise = [sample_noise(seed, sample) for sample in range(len(prompt))]
    context, chosen, log_probs = prompt[:, -size:], [], []
    for step in range(length):
        if step and context.shape[1] > size:
            context = context[:, -(size // 2) :]
        logits = model(context)[:, -1].detach()
        gumbel = torch.stack([torch.from_numpy(stream.gumbel(size=model.config.vocab_size)) for stream in noise])
        scores = logits / temperature + gumbel if temperature else logits
        new = scores.argmax(-1, keepdim=True)
        chosen.append(new)
        log_probs.append(logits.log_softmax(-1).gather(-1, new))
        context = torch.cat([context, new], dim=1)
    return torch.cat(chosen, dim=1), torch.cat(log_probs, dim=1)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.8])
@pytest.mark.parametrize("prompt_length", [1, 3, 15, 16, 40])
@pytest.mark.parametrize(("mixer", "positions"), list(itertools.product(MIXERS, ("rope", "learned"))))
def test_any_length_equals_recomputing_everything(
    mixer: str, positions: str, prompt_length: int, temperature: float
) -> None:
    """Over three contexts, for prompts shorter and longer than one."""
    model = gpt(mixer=mixer, positions=positions)
    prompt = torch.randint(11, (2, prompt_length))
    steps = list(generate(model, prompt, 3 * 16 + 5, temperature=temperature, seed=4))
    expected_ids, expected_log_probs = slowly(model, prompt, 3 * 16 + 5, temperature, seed=4)
    assert torch.equal(torch.stack([step.ids for step in steps], dim=1), expected_ids)
    log_probs = torch.stack([step.log_probs for step in steps], dim=1)
    torch.testing.assert_close(log_probs, expected_log_probs, rtol=0, atol=1e-5)


def test_an_odd_context_is_halved_too() -> None:
    model = gpt(block_size=9)
    assert torch.equal(ids(model, PROMPT, 40, seed=1), slowly(model, PROMPT, 40, 1.0, seed=1)[0])


def test_the_shortest_context() -> None:
    model = gpt(block_size=2, n_levels=1, mixer="haar")
    assert torch.equal(ids(model, PROMPT, 20, seed=1), slowly(model, PROMPT, 20, 1.0, seed=1)[0])


def test_temperature_0_takes_the_likeliest_token_whatever_the_seed() -> None:
    model = gpt()
    greedy = ids(model, PROMPT, 20, temperature=0, seed=1)
    assert torch.equal(greedy, ids(model, PROMPT, 20, temperature=0, seed=2))
    assert torch.equal(greedy[:, :10], slowly(model, PROMPT, 10, 0.0, seed=0)[0])
    assert torch.equal(greedy, ids(model, PROMPT, 20, temperature=1e-40))
    assert torch.equal(greedy, ids(model, PROMPT, 20, top_k=1))


def test_the_seed_decides() -> None:
    model = gpt()
    first = ids(model, PROMPT, 50, seed=3)
    assert torch.equal(first, ids(model, PROMPT, 50, seed=3))
    assert len({tuple(ids(model, PROMPT, 50, seed=seed)[0].tolist()) for seed in range(20)}) == 20


def test_generation_leaves_the_global_random_state_alone() -> None:
    model = gpt()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    ids(model, PROMPT, 5)
    assert torch.equal(torch.rand(1), expected)


def test_a_sample_does_not_depend_on_how_many_are_beside_it() -> None:
    model = gpt(mixer="haar")
    together = ids(model, PROMPT.repeat(5, 1), 40, seed=3)
    for count in (1, 2, 4):
        assert torch.equal(ids(model, PROMPT.repeat(count, 1), 40, seed=3), together[:count])
    assert len({tuple(row.tolist()) for row in together}) == 5


def test_two_models_that_agree_draw_the_same_ids() -> None:
    """Noise is paired: twins with the same logits go the same way, others as far as they agree."""
    assert torch.equal(ids(gpt(mixer="haar"), PROMPT, 60), ids(gpt(mixer="learnable"), PROMPT, 60))
    near = gpt()
    with torch.no_grad():
        near.head.weight += 0.01 * torch.randn_like(near.head.weight)
    paired = (ids(gpt(), PROMPT.repeat(50, 1), 1) == ids(near, PROMPT.repeat(50, 1), 1)).float().mean()
    unpaired = (ids(gpt(), PROMPT.repeat(50, 1), 1) == ids(near, PROMPT.repeat(50, 1), 1, seed=1)).float().mean()
    assert paired > 0.95
    assert unpaired < 0.5


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_have_the_model_s_distribution(temperature: float) -> None:
    """A chi-square test of 4000 samples with a fixed seed; 29.6 is exceeded with probability 0.001."""
    model, count = gpt(), 4000
    drawn = ids(model, PROMPT.repeat(count, 1), 1, temperature=temperature, seed=11)[:, 0]
    probabilities = (model(PROMPT)[0, -1].detach().double() / temperature).softmax(-1)
    expected = probabilities * count
    assert expected.min() > 5
    chi_square = ((torch.bincount(drawn, minlength=11) - expected) ** 2 / expected).sum()
    assert chi_square < 29.6  # 10 degrees of freedom
    assert chi_square > 1.5  # and not better than chance would have it


def test_successive_steps_draw_independent_noise() -> None:
    """A model whose logits are all equal gives uniform ids, over the steps of one sample too."""
    model = gpt()
    with torch.no_grad():
        model.head.weight.zero_()
    drawn = ids(model, PROMPT, 2000)[0]
    expected = 2000 / 11
    assert ((torch.bincount(drawn, minlength=11) - expected) ** 2 / expected).sum() < 29.6
    pairs = torch.bincount(drawn[:-1] * 11 + drawn[1:], minlength=121)
    assert ((pairs - 1999 / 121) ** 2 / (1999 / 121)).sum() < 173.6  # 120 degrees of freedom, 0.001


def test_log_probabilities_are_the_model_s_own_before_temperature_and_filters() -> None:
    model = gpt()
    for settings in ({"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.3}, {"min_p": 0.9}, {"temperature": 0}):
        (step,) = generate(model, PROMPT, 1, **settings)
        own = model(PROMPT)[:, -1].detach().log_softmax(-1)
        torch.testing.assert_close(step.log_probs, own.gather(-1, step.ids[:, None])[:, 0])


def test_ids_ruled_out_are_never_drawn() -> None:
    model = gpt()
    likeliest = set(model(PROMPT)[0, -1].topk(2).indices.tolist())
    drawn = set(ids(model, PROMPT.repeat(300, 1), 1, top_k=2)[:, 0].tolist())
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
    endless = [step.ids for step in itertools.islice(generate(model, PROMPT, seed=2), 100)]
    assert torch.equal(torch.stack(endless, dim=1), ids(model, PROMPT, 100, seed=2))


def test_closing_stops_the_work_and_frees_the_memory() -> None:
    model = gpt()
    states = []
    new_state = model.new_state

    def remembered(batch: int) -> Any:
        states.append(weakref.ref(state := new_state(batch)))
        return state

    model.new_state = remembered  # type: ignore[method-assign]
    steps = generate(model, PROMPT)
    next(steps)
    next(steps)
    assert states[0]() is not None
    steps.close()  # type: ignore[attr-defined]
    gc.collect()
    assert states[0]() is None
    with pytest.raises(StopIteration):
        next(steps)


def test_generation_builds_no_graph_and_leaves_gradients_on_outside() -> None:
    model = gpt()
    for step in generate(model, PROMPT, 3):
        assert not step.log_probs.requires_grad
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "at least one token"),
        (torch.zeros(0, 3, dtype=torch.long), {}, "prompt"),
        (torch.zeros(3, dtype=torch.long), {}, "prompt"),
        (torch.tensor([[1, 11]]), {}, "vocabulary of 11"),
        (torch.tensor([[-1]]), {}, "vocabulary of 11"),
        (PROMPT, {"temperature": -1.0}, "temperature"),
        (PROMPT, {"temperature": math.nan}, "temperature"),
        (PROMPT, {"top_k": 0}, "top-k"),
        (PROMPT, {"top_p": 2.0}, "top-p"),
        (PROMPT, {"min_p": -1.0}, "min-p"),
        (PROMPT, {"seed": -1}, "seed"),
        (PROMPT, {"max_new_tokens": -1}, "length"),
    ],
)
def test_bad_input_is_refused_before_the_first_step(prompt: Tensor, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        generate(gpt(), prompt, **settings)
    assert len(str(refusal.value).splitlines()) == 1
