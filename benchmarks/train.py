"""Training speed of the mixers at the paper's shape, step by step in turn, on the same random batches.

Prints a table, then one JSON object: tokens per second (median over steps) and each mixer's step time over that of
`none` (median of the ratios of steps run next to each other).
"""

import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from waveletgpt.common.errors import run_command
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import MIXERS
from waveletgpt.training.config import OptimizerConfig
from waveletgpt.training.evaluation import token_loss
from waveletgpt.training.optimizer import make_optimizer
from waveletgpt.training.processes import pick_autocast, pick_device


@dataclass(frozen=True)
class Config:
    """Training speed of the mixers at the paper's shape."""

    batch_size: int = 4
    steps: int = 9
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    device: str = "auto"
    compile: bool = False
    """Compile the models with torch.compile."""


def measure(config: Config) -> dict[str, Any]:
    """Tokens per second and step-time ratio to `none` of every mixer."""
    device = pick_device(config.device)
    autocast = pick_autocast("auto", device)
    models = {mixer: GPT(GPTConfig(mixer=mixer)).to(device) for mixer in MIXERS}
    optimizers = {mixer: make_optimizer(model, OptimizerConfig()) for mixer, model in models.items()}
    for model in models.values() if config.compile else ():
        model.compile()
    shape = config.batch_size, models["none"].config.block_size
    seconds: dict[str, list[float]] = {mixer: [] for mixer in MIXERS}
    for step in range(config.steps + 1):
        tokens = torch.randint(256, (shape[0], shape[1] + 1), device=device)
        for mixer, model in models.items():
            started = time.perf_counter()
            with autocast():
                loss = token_loss(model(tokens[:, :-1]), tokens[:, 1:])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizers[mixer].step()
            optimizers[mixer].zero_grad(set_to_none=True)
            float(loss.detach())  # waits for the device
            if step:  # the first step allocates
                seconds[mixer].append(time.perf_counter() - started)
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "batch": shape[0],
        "block_size": shape[1],
        "steps": config.steps,
        "compiled": config.compile,
        "mixers": {
            mixer: {
                "tokens_per_second": round(shape[0] * shape[1] / median(times)),
                "ratio": round(median(a / b for a, b in zip(times, seconds["none"], strict=True)), 3),
            }
            for mixer, times in seconds.items()
        },
    }


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Config, description=__doc__)
    if config.threads:
        torch.set_num_threads(config.threads)
    report = measure(config)
    table = Table(title="Training: 10 blocks, 128 coordinates, T = 512")
    for column in ("mixer", "tokens/s", "step time over none"):
        table.add_column(column)
    for mixer, figures in report["mixers"].items():
        table.add_row(mixer, f"{figures['tokens_per_second']:,}", f"{figures['ratio']:.3f}")
    Console().print(table)
    print(json.dumps(report))


if __name__ == "__main__":
    run_command(main)
