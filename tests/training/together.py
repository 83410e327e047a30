"""Train several configurations one after another, under torchrun: `together.py DATA OUT` for test_processes.py."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from waveletgpt.training import trainer
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.trainer import train


@contextmanager
def second_is_asked_at_10() -> Iterator[Callable[[], bool]]:
    """A stand-in for `stop_requested`: at the second look, at step 10, the second process alone is asked to stop."""
    looks = iter([False])
    yield lambda: os.environ["RANK"] == "1" and next(looks, True)


def stopped_and_resumed(config: TrainConfig, **changes: bool) -> None:
    """Train up to step 10, and then on with `changes`."""
    asked, trainer.stop_requested = trainer.stop_requested, second_is_asked_at_10
    with suppress(Stopped):
        train(config)
        raise AssertionError("was asked to stop and did not")
    trainer.stop_requested = asked
    train(replace(config, resume=True, **changes))


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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
