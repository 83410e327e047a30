"""One model on several processes: a copy on each (DDP), or split among them (FSDP2, in `sharding.py`)."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from waveletgpt.models.gpt import GPT
from waveletgpt.training.ranks.processes import Processes


def spread(model: GPT, device: torch.device, processes: Processes, *, shard: bool) -> nn.Module:
    """Put `model` on this process's `device`, all of it or with `shard` a part; returns what to train it through."""
    if shard:
        _sharding().shard(model, device, processes.world)
        return model
    model.to(device)
    if processes.world == 1:
        return model
    names = inspect.signature(DistributedDataParallel).parameters
    sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {sync_buffers: False}
    return DistributedDataParallel(model, **options)  # buffers are constants


@contextmanager
def gradients_meet(model: nn.Module, meet: bool) -> Iterator[None]:
    """Whether the gradients of the block's backward pass are averaged over the processes, or kept to be added to."""
    if isinstance(model, DistributedDataParallel) and not meet:
        with model.no_sync():
            yield
        return
    if hasattr(model, "set_requires_gradient_sync"):
        cast(Any, model).set_requires_gradient_sync(meet)
    yield


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be split, in one piece; all processes must ask for it at the same time."""
    tensor = tensor.detach()
    found: Tensor = cast(Any, tensor).full_tensor() if is_split(tensor) else tensor
    return found


def hand_out(tensor: Tensor | None, like: Tensor, processes: Processes) -> Tensor:
    """`tensor`, which only the first process needs to have, on every process, split and placed as `like` is."""
    if tensor is None:
        tensor = torch.empty(like.shape, dtype=like.dtype)
    tensor = tensor.to(like.device).contiguous()
    if is_split(like):
        part: Tensor = _sharding().split(tensor, like)
        return part
    if processes.world > 1:
        distributed.broadcast(tensor, 0)
    return tensor


def is_split(tensor: Tensor) -> bool:
    """Whether `tensor` is a DTensor, of which each process has a part."""
    return hasattr(tensor, "full_tensor")


def _sharding() -> Any:
    """Imported when it is needed: it takes as long as half of PyTorch."""
    return import_module("waveletgpt.training.ranks.sharding")
