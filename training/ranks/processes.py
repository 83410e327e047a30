"""The processes that train one model together: one, or those that torchrun starts on one machine or more."""

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from waveletgpt.common.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process's rank among the processes of a run, and what they exchange.

    They need no common file system: the first process reads and writes files and sends the others what they need.
    All processes must call the methods that exchange something at the same time.
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
        """This process's part of `rows` if all parts have the same size, else all rows.

        So the mean over processes of means over parts is the mean over `rows`.
        """
        return rows if len(rows) % self.world else self.share(rows)

    def means(self, values: Tensor) -> list[float]:
        """The mean of each of `values` (N,) over all processes, in float64. Waits for the device."""
        values = values.cpu().double()
        if self.world > 1:
            distributed.all_reduce(values)
        found: list[float] = (values / self.world).tolist()
        return found

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes."""
        return self.means(torch.tensor([value], dtype=torch.float64))[0]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return self.mean(float(flag)) > 0

    def broadcast(self, text: str, source: int = 0) -> str:
        """The `text` of process `source`, in all processes."""
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
    def share_errors(self) -> Iterator[None]:
        """If the block raises InputError or OSError in one process, raise it in all of them.

        The block itself must exchange nothing.
        """
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
            line = f"{'' if self.is_first else f'process {self.rank}: '}{failure}"
            is_input, message = json.loads(
                self.broadcast(json.dumps([isinstance(failure, InputError), line]), int(first))
            )
            raise (InputError if is_input else OSError)(message) from failure

    def check_same(self, settings: dict[str, Any]) -> None:
        """Raise InputError unless all processes have the same `settings` (JSON-able)."""
        expected = json.loads(self.broadcast(json.dumps(settings)))
        with self.share_errors():
            differ = [name for name, value in json.loads(json.dumps(settings)).items() if expected[name] != value]
            if differ:
                raise InputError(f"started with other settings than the first process ({', '.join(differ)})")


@contextmanager
def process_group() -> Iterator[Processes]:
    """Join the process group that torchrun describes in the environment, if it does.

    The backend is gloo for CPU tensors and nccl for CUDA tensors. The group is joined once and left when the process
    ends, because a store can bring processes together only once.

    Raises:
        OSError: the other processes cannot be reached, or one of them ended while the block runs.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    try:
        if not distributed.is_initialized():
            # Processes exchange CPU tensors, wherever the model is.
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(distributed.destroy_process_group)
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise OSError("another process of this run has gone or cannot be reached; start all of them again") from error
