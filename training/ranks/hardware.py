"""The hardware and the number format of a run, as reports and model cards state them."""

import platform
from pathlib import Path
from typing import Any

import torch

from waveletgpt.common.cores import available_cores
from waveletgpt.common.files import read_text
from waveletgpt.training.config import TrainConfig


def hardware(config: TrainConfig) -> dict[str, Any]:
    """Processor, cores, accelerator (None for a CPU), PyTorch version, precision and threads, as JSON values.

    `config.device` must be a device's name, not "auto".
    """
    device = torch.device(config.device)
    accelerator = None if device.type == "cpu" else device.type
    return {
        "processor": processor(),
        "cores": available_cores(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else accelerator,
        "torch": torch.__version__,
        "precision": config.precision,
        "threads": config.threads,
    }


def hardware_in_words(config: TrainConfig, processes: int = 1) -> str:
    """Accelerators or cores in use, precision and PyTorch version. `config.device` must not be "auto"."""
    found = hardware(config)
    cores = f"{found['processor']}, {torch.get_num_threads()} of {found['cores']} cores"
    machine = found["accelerator"] or cores
    shared = f", {processes} processes" if processes > 1 else ""
    return f"{machine}{shared}, {found['precision']}, PyTorch {found['torch']}"


def processor() -> str:
    """The CPU's model from /proc/cpuinfo on Linux, from Python elsewhere."""
    for line in (read_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
