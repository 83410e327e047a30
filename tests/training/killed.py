"""Train in children that kill themselves before their n-th change to a file, for every n, and resume what they leave.

Run by test_kill.py in a process of its own that never trains itself, because a process that has trained cannot fork.
Prints a JSON object a line: what was found after each kill and after resuming.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from waveletgpt.common import files
from waveletgpt.models import checkpoint
from waveletgpt.models.generation import Step
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.optimizer import make_optimizer
from waveletgpt.training.runs import samples
from waveletgpt.training.trainer import train

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "test.half"}


def count_changes(on_change: Callable[[], None]) -> None:
    """Call `on_change` before each change to the file system by this process, and halfway through writing weights."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            on_change()

    def save_half_first(tensors: dict[str, Any], path: Path, metadata: dict[str, str]) -> None:
        save(tensors, path, metadata=metadata)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        sys.audit("test.half")
        path.write_bytes(data)

    save, checkpoint.save_file = checkpoint.save_file, save_half_first  # type: ignore[assignment]
    sys.addaudithook(hook)


def in_child(work: Callable[[], object]) -> int:
    """Do `work` in a forked process and return its exit status, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(number: int, config: TrainConfig) -> None:
    """Train, and kill this process before change number `number`."""
    left = iter(range(number - 1))
    count_changes(lambda: None if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL))
    train(config)


def generate(model: GPT, prompt: torch.Tensor, length: int, **_: Any) -> Iterator[Step]:
    """A fast stand-in for generation: the likeliest tokens after the prompt."""
    likeliest = model(prompt)[:, -1].topk(length).indices  # (1, length)
    yield from (Step(ids, torch.zeros(1)) for ids in likeliest.unbind(1))


def main(data: Path, out: Path, exchanges: bool, first: int) -> None:
    """Kill at each change from number `first` on; `exchanges` says if directories can be swapped in one step."""
    os.fsync = lambda _: None  # a killed process loses nothing that it has already written
    torch.set_num_threads(1)
    samples.generate = generate  # type: ignore[assignment]
    if not exchanges:
        files._exchanged = lambda *_: False  # type: ignore[assignment]
    tiny = GPTConfig(
        block_size=16, n_layer=2, n_head=2, n_embd=8, n_hidden=8, n_levels=3, mixer="learnable", dropout=0.1
    )
    plain = {
        "device": "cpu",
        "threads": 1,
        "precision": "float32",
        "sample_tokens": 8,
        "tensorboard": False,
        "batch_size": 2,
    }
    config = PRESETS["debug"](data=data, out=out / "whole", model=tiny, steps=4, eval_every=2, **plain)
    make_optimizer(GPT(tiny), config.optimizer)  # import these modules once, before the children fork
    assert in_child(lambda: train(config)) == 0
    number, status = first, -signal.SIGKILL
    while status == -signal.SIGKILL:
        run = out / f"{number}"
        part = replace(config, out=run)
        status = in_child(lambda: killed_before(number, part))  # noqa: B023
        left = sorted(f"{path.relative_to(run)}" for path in run.rglob("*"))
        part = replace(part, resume="run.json" in left)
        resumed = in_child(lambda: train(part))  # noqa: B023
        print(json.dumps({"number": number, "status": status, "left": left, "resumed": resumed}), flush=True)
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "exchange", int(sys.argv[4]))
