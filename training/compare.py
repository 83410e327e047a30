"""Train mixers on the same data, order and seeds, and tell how much sooner each reaches the baseline's loss.

The last line printed is one JSON object; the same is in OUT/report.json. Runs that OUT already holds are not
trained again, and one that was interrupted goes on.
"""

import json
import sys
from dataclasses import dataclass, fields, replace
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import write_text
from waveletgpt.common.units import in_unit
from waveletgpt.models.mixers import MIXERS
from waveletgpt.training.command import parse
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset
from waveletgpt.training.trainer import train

BASELINE = "none"


@dataclass(frozen=True)
class Config(TrainConfig):
    """Train mixers on the same data, order and seeds. --model.mixer, --seed and --resume are decided here."""

    mixers: tuple[str, ...] = ("none", "haar", "learnable")
    """Layers between the blocks to compare; `none`, the baseline, must be among them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every mixer a seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [mixer for mixer in self.mixers if mixer not in MIXERS]
        if unknown:
            raise InputError(f"--mixers holds {', '.join(unknown)}; known are {', '.join(MIXERS)}")
        if BASELINE not in self.mixers:
            raise InputError(f"--mixers must hold {BASELINE}, the baseline to compare with")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError("--seeds must be different whole numbers of 0 or more, at least one")


def compare(config: Config) -> dict[str, Any]:
    """Train what is missing and report on every mixer, JSON-able. Losses in nats per token."""
    dataset = Dataset.open(config.data)
    curves = {mixer: [trained(config, mixer, seed) for seed in config.seeds] for mixer in dict.fromkeys(config.mixers)}
    report = {
        "data": dataset.info.source,
        "report": dataset.info.report,
        "steps": config.steps,
        "tokens": config.steps * config.batch_size * config.model.block_size,
        "seeds": list(config.seeds),
        "mixers": {mixer: summary(runs, curves[BASELINE]) for mixer, runs in curves.items()},
    }
    write_text(config.out / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def trained(config: Config, mixer: str, seed: int) -> list[dict[str, Any]]:
    """The metrics of one run, trained or taken up where it is not yet complete."""
    out = config.out / f"{mixer}-{seed}"
    settings = {f.name: getattr(config, f.name) for f in fields(TrainConfig)}
    run = TrainConfig(
        **{
            **settings,
            "out": out,
            "seed": seed,
            "model": replace(config.model, mixer=mixer),
            "resume": (out / "state.safetensors").exists(),
        }
    )
    train(run)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def summary(runs: list[list[dict[str, Any]]], baselines: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """One mixer's figures over the seeds: final validation loss, speed-up in steps, time a step."""
    speedups = [speedup(run, baseline) for run, baseline in zip(runs, baselines, strict=True)]
    reached = [value for value in speedups if value is not None]
    return {
        "val_loss": spread([run[-1]["val_loss"] for run in runs]),
        "speedup": spread(reached) if len(reached) == len(speedups) else None,
        "seconds_a_step": spread([run[-1]["seconds"] / run[-1]["step"] for run in runs]),
    }


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation (None for a single value)."""
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}


def speedup(run: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> float | None:
    """How many times fewer steps `run` needs to reach the baseline's final validation loss; None if it does not.

    Between two evaluations the loss is taken to change linearly.
    """
    target, steps = baseline[-1]["val_loss"], baseline[-1]["step"]
    before = None
    for line in run:
        if line["val_loss"] <= target:
            if before is None:
                return float(steps / line["step"])
            part = (before["val_loss"] - target) / (before["val_loss"] - line["val_loss"])
            return float(steps / (before["step"] + part * (line["step"] - before["step"])))
        before = line
    return None


def table(report: dict[str, Any]) -> Table:
    """The report for reading."""
    unit = report["report"]
    view = Table(title=f"{report['data']}: {report['steps']:,} steps, {len(report['seeds'])} seeds")
    for column in ("mixer", f"validation loss, {unit}", "speed-up in steps", "ms a step"):
        view.add_column(column)

    def cell(value: dict[str, float | None], scale: float, digits: int) -> str:
        sd = "" if value["sd"] is None else f" ± {value['sd'] * scale:.{digits}f}"
        return f"{(value['mean'] or 0) * scale:.{digits}f}{sd}"

    for mixer, figures in report["mixers"].items():
        faster = cell(figures["speedup"], 1, 2) if figures["speedup"] else "not reached"
        loss = cell(figures["val_loss"], in_unit(1, unit), 4)
        view.add_row(mixer, loss, faster, cell(figures["seconds_a_step"], 1000, 1))
    return view


def main() -> None:
    """Read the command line, compare and print."""
    config = parse(Config, sys.argv[1:], __doc__ or "")
    report = compare(config)
    Console().print(table(report))
    print(json.dumps(report))


if __name__ == "__main__":
    run_command(main)
