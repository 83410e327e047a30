"""Train several configurations one after another, under torchrun: `together.py DATA OUT` for test_processes.py."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from waveletgpt.models.gpt import GPT
from waveletgpt.training import trainer
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.gradients import GradientError
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.trainer import train


@contextmanager
def second_is_asked_at_10() -> Iterator[Callable[[], bool]]:
    """A stand-in for `stop_requested`: only the second process is asked to stop, at its second check (step 10)."""
    looks = iter([False])
    yield lambda: os.environ["RANK"] == "1" and next(looks, True)


def stopped_and_resumed(config: TrainConfig, **changes: bool) -> None:
    """Train up to step 10, then resume with `changes`."""
    asked, trainer.stop_requested = trainer.stop_requested, second_is_asked_at_10
    with suppress(Stopped):
        train(config)
        raise AssertionError("was asked to stop and did not")
    trainer.stop_requested = asked
    train(replace(config, resume=True, **changes))


def refusal(config: TrainConfig, use: Callable[[Tensor], Tensor]) -> str:
    """The error of training a model that uses `use(weight)` in place of one of its weights."""

    class Broken(GPT):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            layer = self.get_submodule("blocks.1.attention.qkv")
            layer.forward = lambda x: nn.functional.linear(x, use(layer.weight))

    trainer.GPT = Broken
    try:
        train(config)
    except GradientError as error:
        return str(error)
    finally:
        trainer.GPT = GPT
    raise AssertionError("was not refused")


def main(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    plain = {"device": "cpu", "threads": 1, "precision": "float32", "sample_tokens": 0, "tensorboard": False}
    debug = PRESETS["debug"](data=data, out=out, **plain)
    debug = replace(debug, model=replace(debug.model, mixer="learnable"))
    dropping = replace(debug, model=replace(debug.model, dropout=0.1))
    train(replace(debug, out=out / "a step", steps=1))
    train(replace(debug, out=out / "copies"))
    train(replace(debug, out=out / "copies, accumulated", accumulate=2))
    train(replace(debug, out=out / "shards", shard=True))
    train(replace(debug, out=out / "shards, accumulated", shard=True, accumulate=4))
    train(replace(dropping, out=out / "dropout"))
    stopped_and_resumed(replace(dropping, out=out / "dropout, resumed"))
    stopped_and_resumed(replace(debug, out=out / "copies, then shards"), shard=True)
    stopped_and_resumed(replace(debug, out=out / "shards, then copies", shard=True), shard=False)
    refusals, problems = {}, {"zero": lambda weight: weight.detach() + 0 * weight, "missing": Tensor.detach}
    for shard in (False, True):
        for problem, use in problems.items():
            name = f"{'shards' if shard else 'copies'}, {problem}"
            refusals[name] = refusal(replace(debug, out=out / name, shard=shard), use)
    (out / f"refusals-{os.environ['RANK']}.json").write_text(json.dumps(refusals))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
