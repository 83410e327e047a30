"""One model on several processes: a copy in each (DDP), or a part in each (FSDP2, in `sharding.py`)."""

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


def parallelize(model: GPT, device: torch.device, processes: Processes, *, shard: bool) -> nn.Module:
    """Move `model`, or with `shard` this process's part of it, to `device`. Returns the module to train through."""
    if shard:
        _sharding().shard_model(model, device, processes.world)
        return model
    model.to(device)
    if processes.world == 1:
        return model
    names = inspect.signature(DistributedDataParallel).parameters
    sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {sync_buffers: False}
    return DistributedDataParallel(model, **options)  # buffers are constants


@contextmanager
def gradient_sync(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Whether the backward pass in the block averages gradients over the processes, or only accumulates its own."""
    if isinstance(model, DistributedDataParallel) and not enabled:
        with model.no_sync():
            yield
        return
    if hasattr(model, "set_requires_gradient_sync"):
        cast(Any, model).set_requires_gradient_sync(enabled)
    yield


def full_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded. All processes must call this at the same time."""
    tensor = tensor.detach()
    found: Tensor = cast(Any, tensor).full_tensor() if is_sharded(tensor) else tensor
    return found


def local_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that may be sharded; it may be empty."""
    found: Tensor = cast(Any, tensor).to_local() if is_sharded(tensor) else tensor
    return found


def scatter(tensor: Tensor | None, like: Tensor, processes: Processes) -> Tensor:
    """Send the first process's `tensor` to all processes, sharded and placed as `like` is. Others may give None."""
    if tensor is None:
        tensor = torch.empty(like.shape, dtype=like.dtype)
    tensor = tensor.to(like.device).contiguous()
    if is_sharded(like):
        part: Tensor = _sharding().shard_tensor(tensor, like)
        return part
    if processes.world > 1:
        distributed.broadcast(tensor, 0)
    return tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether `tensor` is a DTensor, of which each process has a part."""
    return hasattr(tensor, "full_tensor")


def _sharding() -> Any:
    """Imported on demand, because it takes half as long as importing PyTorch."""
    return import_module("waveletgpt.training.ranks.sharding")
