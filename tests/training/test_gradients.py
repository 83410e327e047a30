"""A model with a parameter that does not learn is refused before anything is saved."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from waveletgpt.models.gpt import GPT
from waveletgpt.models.mixers import MIXERS
from waveletgpt.training import trainer
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.gradients import STEPS, GradientCheck, GradientError
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.trainer import train

Debug = Callable[..., TrainConfig]
Refused = Callable[..., str]
BROKEN = "blocks.0.attention.qkv.weight"
PROBLEMS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "not finite": lambda gradient: gradient.index_fill(0, torch.tensor([3]), torch.nan),
}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`broken(problem, steps)` gives one parameter's gradient this problem in the first steps of training."""

    def breaking(problem: str, steps: int = 10**6) -> None:
        left = iter(range(steps))

        class BrokenGPT(GPT):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                weight = self.get_parameter(BROKEN)
                if problem == "missing":
                    layer = self.get_submodule(BROKEN.removesuffix(".weight"))
                    layer.forward = lambda x: nn.functional.linear(x, weight.detach())  # type: ignore[method-assign]
                else:
                    weight.register_hook(lambda g: g if next(left, None) is None else PROBLEMS[problem](g))

        monkeypatch.setattr(trainer, "GPT", BrokenGPT)

    return breaking


@pytest.fixture
def broken_run(debug: Debug, tmp_path: Path, refused: Refused, broken: Any) -> Callable[..., str]:
    """`broken_run(problem, **changes)` trains with a broken gradient and returns the one-line error."""

    def run(problem: str, **changes: Any) -> str:
        broken(problem)
        return refused(debug(tmp_path, **changes))

    return run


@pytest.mark.parametrize("problem", ["zero", "missing", "not finite"])
@pytest.mark.parametrize("steps", [20, 4])
def test_a_parameter_that_does_not_learn_is_named(
    broken_run: Callable[..., str], tmp_path: Path, problem: str, steps: int
) -> None:
    message = broken_run(problem, steps=steps)
    assert message == f"{BROKEN} does not learn: its gradient was {problem} in every step so far ({min(steps, STEPS)})"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_on_a_slow_machine_the_parameter_is_named_too(
    debug: Debug, tmp_path: Path, refused: Refused, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine checks the loss after every step, so it sees the second loss before the tenth step."""
    monkeypatch.setattr(trainer, "LOOK_SECONDS", 0.0)
    broken("not finite")
    assert refused(debug(tmp_path)).startswith(f"{BROKEN} does not learn: its gradient was not finite")


def test_parameters_are_judged_before_an_earlier_save(
    debug: Debug, tmp_path: Path, refused: Refused, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation or a stop saves before the usual number of steps has been checked."""
    broken("zero")
    assert refused(debug(tmp_path / "evaluated", eval_every=3)).endswith("in every step so far (3)")
    monkeypatch.setattr(trainer, "stop_requested", lambda: nullcontext(lambda: True))
    assert refused(debug(tmp_path / "stopped")).endswith("in every step so far (1)")
    for name in ("evaluated", "stopped"):
        assert [path.name for path in (tmp_path / name).iterdir()] == ["run.json"]


def test_a_gradient_that_is_zero_in_most_of_the_steps_is_no_reason_to_end(
    debug: Debug, tmp_path: Path, broken: Any
) -> None:
    broken("zero", steps=STEPS - 1)
    assert train(debug(tmp_path)).steps == 20


def test_the_first_steps_after_resuming_are_judged(debug: Debug, tmp_path: Path, refused: Refused, broken: Any) -> None:
    train(debug(tmp_path, steps=10))
    broken("zero")
    message = refused(debug(tmp_path, steps=30, resume=True, allow_changes=True))
    assert message.startswith(f"{BROKEN} does not learn")


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_all_mixers_learn_from_the_first_step(debug: Debug, tmp_path: Path, mixer: str, positions: Any) -> None:
    settings = debug(tmp_path, steps=1)
    train(replace(settings, model=replace(settings.model, mixer=mixer, positions=positions)))


def test_several_parameters_and_the_compiler_are_named() -> None:
    model = GPT(TrainConfig(Path(), Path()).model)
    for name, parameter in model.named_parameters():
        parameter.grad = torch.zeros_like(parameter) if name.startswith("blocks.3.") else torch.ones_like(parameter)
    check = GradientCheck(model, Processes(), compiled=True)
    for _ in range(STEPS):
        check.look()
    with pytest.raises(
        GradientError, match=r"^blocks\.3\..* \(10\); \d more do not learn either \(blocks.*--no-compile"
    ):
        check.judge()


def test_after_the_first_steps_the_check_costs_nothing(debug: Debug, tmp_path: Path) -> None:
    model = GPT(debug(tmp_path).model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    check = GradientCheck(model, Processes())
    for step in range(STEPS + 2):
        assert len(check.seen) == min(step, STEPS)
        check.look()
    check.judge()
    for parameter in model.parameters():
        parameter.grad = None
    check.look()
    check.judge(early=True)
    assert check.passed and not check.seen
