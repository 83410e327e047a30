"""A model sharded among processes, for models that outgrow one device: FSDP2 (torch.distributed.fsdp.fully_shard)."""

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from waveletgpt.models.gpt import GPT


def shard_model(model: GPT, device: torch.device, world: int) -> None:
    """Shard `model` among `world` processes on their devices. The forward pass gathers one block at a time."""
    mesh = init_device_mesh(device.type, (world,))
    for block in model.blocks:  # one at a time, so that no device ever holds the whole model
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def shard_tensor(tensor: Tensor, like: Tensor) -> Tensor:
    """The first process's `tensor` as a DTensor sharded as `like` is."""
    if not isinstance(like, DTensor):
        raise TypeError(f"a tensor is sharded like a DTensor, not like {type(like).__name__}")
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=0)
