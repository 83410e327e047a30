"""Decoding speed of the mixers at the paper's shape, one stream, in turn.

Prints a table, then one JSON object: tokens per second (median over repetitions), the time a token over that of
`none`, and the time a token late in a stream over that early in it.
"""

import json
import time
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from waveletgpt.common.errors import run_command
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import MIXERS
from waveletgpt.training.processes import pick_device


@dataclass(frozen=True)
class Config:
    """Decoding speed of the mixers at the paper's shape."""

    tokens: int = 512
    """Tokens a repetition; a stream goes on from one repetition to the next."""
    repetitions: int = 5
    threads: int = 1
    device: str = "auto"


def measure(config: Config) -> dict[str, Any]:
    """Tokens per second and ratios of every mixer."""
    device = pick_device(config.device)
    streams = {}
    for mixer in MIXERS:
        model = GPT(GPTConfig(mixer=mixer)).to(device).eval()
        streams[mixer] = generate(model, torch.zeros(1, 1, dtype=torch.long))
    seconds: dict[str, list[float]] = {mixer: [] for mixer in MIXERS}
    for _ in range(config.repetitions):
        for mixer, stream in streams.items():
            started = time.perf_counter()
            for _step in islice(stream, config.tokens):
                pass
            seconds[mixer].append(time.perf_counter() - started)
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "tokens": config.tokens * config.repetitions,
        "mixers": {
            mixer: {
                "tokens_per_second": round(config.tokens / median(times)),
                "ratio": round(median(a / b for a, b in zip(times, seconds["none"], strict=True)), 3),
                "late_over_early": round(times[-1] / times[0], 3),
            }
            for mixer, times in seconds.items()
        },
    }


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(config.threads)
    report = measure(config)
    table = Table(title="Decoding one stream: 10 blocks, 128 coordinates, T = 512")
    for column in ("mixer", "tokens/s", "time a token over none", "late over early"):
        table.add_column(column)
    for mixer, figures in report["mixers"].items():
        row = (
            f"{figures['tokens_per_second']:,}",
            f"{figures['ratio']:.3f}",
            f"{figures['late_over_early']:.3f}",
        )
        table.add_row(mixer, *row)
    Console().print(table)
    print(json.dumps(report))


if __name__ == "__main__":
    run_command(main)
