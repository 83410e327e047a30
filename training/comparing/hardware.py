"""What a run computes on, for whoever reads its figures."""

import platform
from pathlib import Path
from typing import Any

import torch

from waveletgpt.common.cores import available_cores
from waveletgpt.common.files import read_text
from waveletgpt.training.config import TrainConfig


def hardware(config: TrainConfig) -> dict[str, Any]:
    """Processor and number of cores, accelerator (None without one), PyTorch, precision, threads; JSON-able.

    `config.device` must name the device that is used, "auto" having been decided.
    """
    device = torch.device(config.device)
    return {
        "processor": processor(),
        "cores": available_cores(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else accelerator_type(device),
        "torch": torch.__version__,
        "precision": config.precision,
        "threads": config.threads,
    }


def accelerator_type(device: torch.device) -> str | None:
    """The kind of an accelerator, None for a CPU."""
    return None if device.type == "cpu" else device.type


def processor() -> str:
    """The CPU's model as Linux tells it, elsewhere what Python knows."""
    for line in (read_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
