"""Where a run computes: one process or the several that torchrun starts, on one machine or more; device, precision."""

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from waveletgpt.common.errors import InputError
from waveletgpt.training.config import Precision
from waveletgpt.training.evaluation import Autocast


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together, and what they tell one another.

    They share no file system: what one of them reads, the others are told. Whatever exchanges something, all of them
    must call at the same time.
    """

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

    def share_evenly(self, rows: list[int]) -> list[int]:
        """This process's part of `rows` if all can have as many, else all of them; means over processes are right."""
        return rows if len(rows) % self.world else self.share(rows)

    def means(self, values: Tensor) -> list[float]:
        """The mean of each of `values` (N,) over all processes, in float64; waits for the device."""
        values = values.cpu().double()
        if self.world > 1:
            distributed.all_reduce(values)
        found: list[float] = (values / self.world).tolist()
        return found

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes."""
        return self.means(torch.tensor([value], dtype=torch.float64))[0]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in some process."""
        return self.mean(float(flag)) > 0

    def told(self, text: str, source: int = 0) -> str:
        """What process `source` says; `text` is what this one would."""
        if self.world == 1:
            return text
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        size = torch.tensor(len(data))
        distributed.broadcast(size, source)
        if self.rank != source:
            data = torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(data, source)
        return bytes(data.tolist()).decode()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within the block nothing is exchanged; an InputError or OSError of one process becomes that of all."""
        failure: Exception | None = None
        try:
            yield
        except (InputError, OSError) as error:
            failure = error
        if self.world == 1:
            if failure:
                raise failure
            return
        first = torch.tensor(self.rank if failure else self.world)
        distributed.all_reduce(first, distributed.ReduceOp.MIN)
        if int(first) < self.world:
            mine = f"{'' if self.is_first else f'process {self.rank}: '}{failure}"
            kind, message = json.loads(self.told(json.dumps([isinstance(failure, InputError), mine]), int(first)))
            raise (InputError if kind else OSError)(message) from failure

    def check_same(self, settings: dict[str, Any]) -> None:
        """InputError unless all processes were started with the same `settings` (JSON-able)."""
        expected = json.loads(self.told(json.dumps(settings)))
        with self.together():
            differ = [name for name, value in json.loads(json.dumps(settings)).items() if expected[name] != value]
            if differ:
                raise InputError(f"started with other settings than the first process ({', '.join(differ)})")


@contextmanager
def process_group() -> Iterator[Processes]:
    """The group that torchrun describes in the environment (gloo on CPUs, nccl on GPUs), if it does.

    It is joined once, and left when the process ends: a store can bring processes together only once. OSError if the
    others cannot be reached, or one of them goes while the block runs.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    try:
        if not distributed.is_initialized():
            # What processes tell one another lies on the CPU, wherever the model is.
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(distributed.destroy_process_group)
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise OSError("another process of this run has gone or cannot be reached; start all of them again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


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
        raise InputError(f"--device {name} cannot be used here ({_first_line(error)}); try cpu") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def pick_precision(precision: Precision, device: torch.device) -> Precision:
    """What --precision auto is on `device`: bfloat16 on GPUs and on CPUs that multiply it natively, else float32."""
    if precision != "auto":
        return precision
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    native = device.type == "cuda" or (device.type == "cpu" and has_instructions())
    return "bfloat16" if native else "float32"


def pick_autocast(precision: Precision, device: torch.device) -> Autocast:
    """The context in which the model computes."""
    if pick_precision(precision, device) == "bfloat16":
        return partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return nullcontext


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; on its way to a GPU nobody waits for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
