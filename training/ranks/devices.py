"""What a process computes with: precision and CPU threads."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from waveletgpt.training.config import Precision

Autocast = Callable[[], AbstractContextManager[None]]
"""Makes the context in which the model computes."""


def pick_precision(precision: Precision, device: torch.device) -> Precision:
    """Choose the precision for --precision on `device`.

    auto is bfloat16 on CUDA devices and CPUs that multiply it natively (compute capability 8.0, avx512_bf16), else
    float32. Emulated bfloat16 would be slower than float32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if native else "float32"


def pick_autocast(precision: Precision, device: torch.device) -> Autocast:
    """The context in which the model computes with this precision."""
    if pick_precision(precision, device) == "bfloat16":
        return partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return nullcontext


@contextmanager
def compute_settings(threads: int) -> Iterator[None]:
    """Within the block use TF32 for float32 products on GPUs, and so many CPU threads (0: PyTorch's choice).

    Both are settings of the process; they are restored afterwards.
    """
    threads_before, precision_before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        if threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("high")
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.set_float32_matmul_precision(precision_before)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy `tensor` to `device`, unless it is there. Copies to a GPU are asynchronous."""
    return pinned(tensor).to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def pinned(tensor: Tensor) -> Tensor:
    """`tensor` in page-locked memory, from which copies to a GPU are asynchronous; itself if it is on a GPU.

    It is made contiguous: PyTorch copies a strided tensor through pageable memory, for which the CPU waits.
    """
    return tensor if tensor.is_cuda else tensor.contiguous().pin_memory()
