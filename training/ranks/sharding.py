"""A model split among processes, for those that outgrow one device: FSDP2 (torch.distributed.fsdp.fully_shard)."""

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from waveletgpt.models.gpt import GPT


def shard(model: GPT, device: torch.device, world: int) -> None:
    """Move `model` to `device`, of which each of `world` processes keeps a part and borrows the rest block by block."""
    mesh = init_device_mesh(device.type, (world,))
    for block in model.blocks:  # one at a time, so that no device ever holds the whole
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def split(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, of which the first process's values count, as a DTensor placed as `like` is."""
    if not isinstance(like, DTensor):
        raise TypeError(f"a DTensor tells how to split, not {type(like).__name__}")
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=0)
