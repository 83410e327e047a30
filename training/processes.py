"""Where a run computes: one process or the several that torchrun starts, the device, the precision, the signals."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import distributed

from waveletgpt.common.errors import InputError
from waveletgpt.training.evaluation import Autocast


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, rows: list[int]) -> list[int]:
        """This process's part of a global batch."""
        return rows[self.rank :: self.world]

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes."""
        if self.world == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            tensor = tensor.cuda(self.local_rank)
        distributed.all_reduce(tensor)
        return float(tensor) / self.world

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in some process."""
        return self.mean(float(flag)) > 0


@contextmanager
def process_group() -> Iterator[Processes]:
    """Join the group that torchrun describes in the environment (gloo on CPUs, nccl on GPUs), if it does."""
    if "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        distributed.destroy_process_group()


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that --device names; InputError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local_rank)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used here ({str(error).splitlines()[0]}); try cpu") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def pick_autocast(precision: str, device: torch.device) -> Autocast:
    """The context in which the model computes."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return nullcontext


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C and SIGTERM ask to stop instead of killing; the second Ctrl-C does kill."""
    asked = threading.Event()

    def ask(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
