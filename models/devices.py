"""The device that a model computes on."""

import torch

from waveletgpt.common.errors import InputError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Choose the device for --device.

    Args:
        name: a device of PyTorch, or auto: CUDA if there is a CUDA device, else the CPU.
        local_rank: number of this process on its machine, which is also the number of its CUDA device unless `name`
            has one.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local_rank)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"--device {name} cannot be used here ({reason}); try cpu") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
