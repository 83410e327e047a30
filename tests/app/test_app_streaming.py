import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from waveletgpt.app import streaming
from waveletgpt.app.streaming import Completion, GenerationTask, stream
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.sampling import Sampling


@pytest.fixture(scope="module")
def models() -> list[GPT]:
    torch.manual_seed(0)
    shape = {"vocab_size": 11, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 8}
    return [GPT(GPTConfig(**shape, n_levels=4, mixer=mixer)).eval() for mixer in ("none", "haar")]


def test_writes_what_generate_writes_and_sums_its_log_probabilities(models: list[GPT]) -> None:
    prompt, sampling = torch.tensor([1, 2, 3]), Sampling(temperature=0.8, top_k=5, seed=7)
    *_, last = stream([GenerationTask(model, prompt, (40,), sampling) for model in models])
    for model, (completion,) in zip(models, last, strict=True):
        steps = list(generate(model, prompt[None], 40, temperature=0.8, top_k=5, seed=7))
        assert completion.ids.tolist() == [1, 2, 3] + [int(step.ids) for step in steps]
        assert completion.nats == pytest.approx(-sum(float(step.log_probs) for step in steps), rel=1e-5)
        assert completion.done and completion.written == 40 and completion.prompt_length == 3
        assert completion.tokens_per_second > 0 and completion.seconds_left == 0


def test_samples_do_not_depend_on_their_number(models: list[GPT]) -> None:
    task = GenerationTask(models[1], torch.tensor([4]), (12,), Sampling(seed=3))
    *_, (one,) = stream([task])
    *_, (many,) = stream([replace(task, samples=range(3))])
    assert len(many) == 3
    assert many[0].ids.equal(one[0].ids) and not many[1].ids.equal(one[0].ids)


def test_what_goes_on_in_parts_is_what_one_task_of_these_parts_writes(models: list[GPT]) -> None:
    first = GenerationTask(models[1], torch.tensor([4, 2]), (30,), Sampling(seed=3), samples=range(2, 3))
    *_, ((begun,),) = stream([first])
    *_, ((grown,),) = stream([replace(first, lengths=(12,), earlier=begun)])
    *_, ((whole,),) = stream([replace(first, lengths=(30, 12))])
    assert grown.ids.equal(whole.ids) and grown.ids[:32].equal(begun.ids) and grown.done and whole.done
    assert (grown.written, grown.wanted, grown.prompt_length) == (42, 42, 2)
    assert grown.nats == pytest.approx(whole.nats, rel=1e-6)


def test_several_samples_have_one_part(models: list[GPT]) -> None:
    with pytest.raises(ValueError, match="only a single sample"):
        next(stream([GenerationTask(models[0], torch.tensor([1]), (3, 3), samples=range(2))]))


def test_a_start_that_is_not_shown_is_no_part_of_the_result(models: list[GPT]) -> None:
    *_, ((shown,),) = stream([GenerationTask(models[0], torch.tensor([4]), (6,))])
    *_, ((hidden,),) = stream([GenerationTask(models[0], torch.tensor([4]), (6,), shown=False)])
    assert hidden.prompt_length == 0 and hidden.ids.equal(shown.ids[1:])


def steps_of(model: Any) -> Iterator[Step]:
    """The steps of a stand-in for a model: the tokens that its function yields."""
    for token in model():
        yield Step(torch.tensor([token]), torch.tensor([-1.0]))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the models of jobs by functions that yield tokens."""
    monkeypatch.setattr(streaming, "generate", lambda model, *_, **__: steps_of(model))


def task(write: Any, length: int) -> GenerationTask:
    return GenerationTask(write, torch.tensor([1]), (length,))


def written(views: list[list[Completion]]) -> list[int]:
    return [completion.written for (completion,) in views]


def test_grows_from_nothing_to_everything_and_earlier_views_stay_as_they_were(stand_ins: None) -> None:
    seen = threading.Semaphore(0)  # a token is written once the earlier ones have been seen

    def waiting() -> Iterator[int]:
        for token in range(5):
            yield token
            seen.acquire(timeout=20)

    completions = []
    for ((completion,),) in stream([task(waiting, 5)], every=0.01):
        if not completions or completion.written > completions[-1].written:
            completions.append(completion)
            if completion.written:
                seen.release()
    assert [completion.written for completion in completions] == [0, 1, 2, 3, 4, 5]
    assert not completions[0].done and completions[0].nats_per_token == 0 and completions[-1].done
    assert [completion.new.tolist() for completion in completions] == [list(range(n)) for n in range(6)]


def test_models_write_at_the_same_time(stand_ins: None) -> None:
    both = threading.Barrier(2)

    def meeting() -> Iterator[int]:
        for token in range(3):
            both.wait(20)  # opens only if both sides arrive
            yield token

    *_, last = stream([task(meeting, 3), task(meeting, 3)])
    assert written(last) == [3, 3]


def test_closing_stops_the_work_at_once(stand_ins: None) -> None:
    steps, ended = [0, 0], [False, False]

    def endless(i: int) -> Iterator[int]:
        try:
            while True:
                time.sleep(0.001)
                steps[i] += 1
                yield 0
        finally:
            ended[i] = True

    before = threading.active_count()
    views = stream([task(lambda i=i: endless(i), 100_000) for i in (0, 1)], every=0.02)
    next(views), next(views), next(views)
    assert threading.active_count() == before + 2 and min(steps) > 0
    begun = time.monotonic()
    views.close()
    assert time.monotonic() - begun < 1
    assert ended == [True, True] and threading.active_count() == before


def test_what_ends_a_model_comes_out_and_ends_the_others(stand_ins: None) -> None:
    ended = threading.Event()

    def failing() -> Iterator[int]:
        yield 0
        raise MemoryError("no room")

    def endless() -> Iterator[int]:
        try:
            while True:
                time.sleep(0.001)
                yield 0
        finally:
            ended.set()

    with pytest.raises(MemoryError, match="no room"):
        list(stream([task(failing, 9), task(endless, 100_000)]))
    assert ended.is_set()


def test_waiting_costs_nothing_and_views_come_no_more_often_than_asked(stand_ins: None) -> None:
    def slow() -> Iterator[int]:
        for token in range(40):
            time.sleep(0.01)
            yield token

    wall, own = time.monotonic(), time.thread_time()
    views = list(stream([task(slow, 40)], every=0.1))
    wall, own = time.monotonic() - wall, time.thread_time() - own
    assert 2 <= len(views) <= wall / 0.1 + 2
    assert own < 0.2 * wall


def test_the_first_look_may_come_sooner(stand_ins: None) -> None:
    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 0

    begun = time.monotonic()
    views = stream([task(endless, 100_000)], every=60, first=0.01)
    seen = [written(next(views)) for _ in range(5)]
    views.close()
    assert seen[0] == [0] and seen[-1] > [0] and time.monotonic() - begun < 20


def test_an_early_end_is_not_waited_out(stand_ins: None) -> None:
    begun = time.monotonic()
    first, last = stream([task(lambda: range(3), 3)], every=30)
    assert written(first) == [0] and written(last) == [3]
    assert time.monotonic() - begun < 10


def test_different_lengths_end_together(models: list[GPT]) -> None:
    *_, last = stream(
        [GenerationTask(models[0], torch.tensor([1]), (3,)), GenerationTask(models[1], torch.tensor([1]), (9,))]
    )
    assert [completion.written for (completion,) in last] == [3, 9]


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": math.nan}, {"seed": -1}])
def test_settings_are_judged_before_anything_is_shown(models: list[GPT], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        next(stream([GenerationTask(models[0], torch.tensor([1]), (3,), Sampling(**wrong))]))
