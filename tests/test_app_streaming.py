import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from waveletgpt.app import streaming
from waveletgpt.app.streaming import Job, Sampling, stream
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate
from waveletgpt.models.gpt import GPT, GPTConfig


@pytest.fixture(scope="module")
def models() -> list[GPT]:
    torch.manual_seed(0)
    shape = {"vocab_size": 11, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 8}
    return [GPT(GPTConfig(**shape, n_levels=4, mixer=mixer)).eval() for mixer in ("none", "haar")]


def test_writes_what_generate_writes_and_sums_its_log_probabilities(models: list[GPT]) -> None:
    prompt, sampling = torch.tensor([1, 2, 3]), Sampling(temperature=0.8, top_k=5, seed=7)
    *_, last = stream([Job(model, prompt, 40) for model in models], sampling, every=0)
    for model, (take,) in zip(models, last, strict=True):
        steps = list(generate(model, prompt[None], 40, temperature=0.8, top_k=5, seed=7))
        assert take.ids.tolist() == [1, 2, 3] + [int(step.ids) for step in steps]
        assert take.nats == pytest.approx(-sum(float(step.log_probs) for step in steps), rel=1e-5)
        assert take.done and take.written == 40 and take.prompted == 3
        assert take.tokens_per_second > 0 and take.seconds_left == 0


def test_grows_from_nothing_to_everything_and_earlier_views_stay_as_they_were(models: list[GPT]) -> None:
    views = list(stream([Job(models[0], torch.tensor([1]), 5)], Sampling(), every=0))
    takes = [take for ((take,),) in views]
    assert takes[0].written == 0 and not takes[0].done and takes[0].nats_per_token == 0
    assert takes[-1].done
    for earlier, later in itertools.pairwise(takes):
        assert later.ids[: len(earlier.ids)].equal(earlier.ids)


def test_samples_do_not_depend_on_their_number(models: list[GPT]) -> None:
    job = Job(models[1], torch.tensor([4]), 12)
    *_, (one,) = stream([job], Sampling(seed=3))
    *_, (many,) = stream([job], Sampling(seed=3), samples=3)
    assert len(many) == 3
    assert many[0].ids.equal(one[0].ids) and not many[1].ids.equal(one[0].ids)


def test_a_start_that_is_not_shown_is_no_part_of_the_result(models: list[GPT]) -> None:
    *_, ((shown,),) = stream([Job(models[0], torch.tensor([4]), 6)], Sampling())
    *_, ((hidden,),) = stream([Job(models[0], torch.tensor([4]), 6, shown=False)], Sampling())
    assert hidden.prompted == 0 and hidden.ids.equal(shown.ids[1:])


def test_models_take_turns_and_closing_stops_them(models: list[GPT], monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[GPT] = []

    def counting(model: GPT, *arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(model, *arguments, **settings):
            turns.append(model)
            yield step

    monkeypatch.setattr(streaming, "generate", counting)
    views = stream([Job(model, torch.tensor([1]), 1000) for model in models], Sampling(), every=0)
    for _ in range(4):
        next(views)
    assert turns == models * 3
    views.close()
    assert turns == models * 3


def test_different_lengths_end_together(models: list[GPT]) -> None:
    *_, last = stream([Job(models[0], torch.tensor([1]), 3), Job(models[1], torch.tensor([1]), 9)], Sampling())
    assert [take.written for (take,) in last] == [3, 9]


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": math.nan}, {"seed": -1}])
def test_settings_are_judged_before_anything_is_shown(models: list[GPT], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        next(stream([Job(models[0], torch.tensor([1]), 3)], Sampling(**wrong)))
