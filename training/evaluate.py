"""Measure the loss of a checkpoint on a split of prepared data. The last line printed is one JSON object."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.progress import progress_bar
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.training.data import Dataset, check_long_enough, spread_offsets
from waveletgpt.training.evaluation import evaluate
from waveletgpt.training.ranks.devices import pick_device


@dataclass(frozen=True)
class Config:
    """The loss of a checkpoint on a split of prepared data."""

    checkpoint: Path
    """Directory of the checkpoint."""
    data: Path
    """Directory of prepared data, with the checkpoint's kind of data and vocabulary."""
    split: Literal["val", "test", "train"] = "val"
    windows: int = 500
    """Number of windows of block_size tokens, evenly spaced over the split; 0 for all of the split."""
    batch_size: int = 16
    """Windows in a forward pass. The loss does not depend on it."""
    device: str = "auto"
    """auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, mps, ..."""
    threads: int = 0
    """CPU threads; 0 is PyTorch's default."""

    def __post_init__(self) -> None:
        if self.windows < 0:
            raise InputError(f"--windows is {self.windows}; it must be 0 (all) or more")
        if self.batch_size < 1:
            raise InputError(f"--batch-size is {self.batch_size}; it must be 1 or more")
        if self.threads < 0:
            raise InputError(f"--threads is {self.threads}; it must be 0 or more")


def measure(config: Config) -> dict[str, Any]:
    """Measure the loss of a checkpoint.

    Returns:
        The loss and what it was measured on, JSON-able.

    Raises:
        InputError: checkpoint and data cannot be used together, or one of them not at all.
    """
    dataset = Dataset.open(config.data)
    checkpoint = load_checkpoint(config.checkpoint, modality=dataset.info.modality, device=pick_device(config.device))
    if checkpoint.info.tokenizer != dataset.info.tokenizer:
        raise InputError(
            f"{config.checkpoint} and {config.data} have different vocabularies; prepare the data with the "
            "checkpoint's tokenizer"
        )
    block_size = checkpoint.model.config.block_size
    tokens = dataset.tokens(config.split)
    check_long_enough(tokens, block_size, f"{config.data}: the {config.split} split")
    offsets = spread_offsets(len(tokens), block_size, config.windows or len(tokens))
    started = time.perf_counter()
    with progress_bar("windows", len(offsets)) as advance:
        loss = evaluate(checkpoint.model, tokens, offsets, batch_size=config.batch_size, advance=advance)
    return {
        "checkpoint": config.checkpoint.name,
        "mixer": checkpoint.model.config.mixer,
        "split": config.split,
        "tokens": len(offsets) * block_size,
        "nats_per_token": loss,
        dataset.info.report.replace(" ", "_"): in_unit(loss, dataset.info.report),
        "tokens_per_second": round(len(offsets) * block_size / (time.perf_counter() - started)),
    }


def main() -> None:
    """Read the command line, measure and print."""
    config = parse(Config, description=__doc__)
    if config.threads:
        torch.set_num_threads(config.threads)
    print(json.dumps(measure(config)))


if __name__ == "__main__":
    run_command(main)
