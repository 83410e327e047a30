"""How long a training step takes each variant: all in one process, taking turns on the same batches.

What disturbs the machine so disturbs all alike. A variant's ratio is that of its step to the baseline's in the same
round. The times are kept in OUT/step_times.json, and not measured again unless something that decides them changes.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import write_text
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training.batches import Batches
from waveletgpt.training.comparing.hardware import hardware
from waveletgpt.training.comparing.subprocesses import end, last_line, pause, read_settings, start_process
from waveletgpt.training.comparing.trial import config_from
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset
from waveletgpt.training.evaluation import token_loss
from waveletgpt.training.optimizer import make_optimizer
from waveletgpt.training.ranks.devices import pick_autocast, pick_device, to_device
from waveletgpt.training.ranks.processes import Processes

WARM_UP = 3
"""Steps of each variant before the clock runs: they allocate, and compile if asked to."""
Seconds = dict[str, list[float]]
"""By variant, of one step in each round."""


@dataclass(frozen=True)
class Ratio:
    """A variant's step time over the baseline's: median and quartiles over the rounds."""

    ratio: float
    q25: float
    q75: float


def ratio(variant: list[float], baseline: list[float]) -> Ratio:
    """The ratio of step times that were measured in the same rounds, two at least."""
    ratios = [a / b for a, b in zip(variant, baseline, strict=True)]
    q25, _, q75 = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median(ratios), q25, q75)


def step_times(
    config: TrainConfig, models: Mapping[str, GPTConfig], rounds: int, stopping: Callable[[], bool]
) -> Seconds:
    """The seconds of `rounds` steps of each of `models` in `config.out`/step_times.json, measured if need be.

    Raises InputError if they cannot be measured, KeyboardInterrupt if `stopping` says so.
    """
    path, log = config.out / "step_times.json", config.out / "step_times.log"
    asked = {"rounds": rounds, "settings": _settings(config), "models": {}}
    asked["models"] = json.loads(json.dumps({name: asdict(model) for name, model in models.items()}))
    if (found := _kept(path, asked)) is None:
        process = start_process(
            "waveletgpt.training.comparing.step_times",
            {"config": config.to_dict(), "asked": asked},
            log,
            config.threads,
        )
        try:
            while process.poll() is None:
                pause(stopping)
        finally:
            end([process])
        if (found := _kept(path, asked)) is None:
            raise InputError(
                f"step times could not be measured ({last_line(log) or 'the process died'}; see {log}); "
                "--timing-rounds 0 leaves them out"
            )
    return {name: found[name] for name in models}


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What decides step times beside the models."""
    keys = ("batch_size", "accumulate", "augment", "compile")
    of_config = {key: getattr(config, key) for key in keys}
    return {**of_config, "optimizer": config.optimizer.name, "hardware": hardware(config)}


def _kept(path: Path, asked: dict[str, Any]) -> Seconds | None:
    """The times in a file, if it holds those of at least the models asked for, measured as asked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seconds: Seconds = content.pop("seconds")
        content["models"] = {name: content["models"][name] for name in asked["models"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return seconds if content == asked else None


class Contender:
    """A model that takes training steps as the trainer does."""

    def __init__(self, model: GPTConfig, config: TrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.autocast = config, device, pick_autocast(config.precision, device)
        self.model = GPT(model).to(device)
        self.optimizer = make_optimizer(self.model, config.optimizer)
        if config.compile:
            self.model.compile()

    def step(self, parts: list[tuple[Tensor, Tensor]]) -> float:
        """Learn from the parts of a batch, inputs and targets (B, T); returns the seconds until the device has."""
        _synchronize(self.device)
        started = time.perf_counter()
        for inputs, targets in parts:
            with self.autocast():
                loss = token_loss(self.model(inputs), targets)
            (loss / len(parts)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        _synchronize(self.device)
        return time.perf_counter() - started


def measure(config: TrainConfig, models: Mapping[str, GPTConfig], rounds: int) -> Seconds:
    """Seconds of one step of each model in each round, after some that do not count."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_float32_matmul_precision("high")
    if config.compile:  # the models share their code; beyond its limit it would not be compiled, without a word
        import_module("torch._dynamo").config.recompile_limit = 8 * (len(models) + 1)
    device = pick_device(config.device)
    batches = Batches(Dataset.open(config.data), config, Processes())
    contenders = {name: Contender(model, config, device) for name, model in models.items()}
    names, seconds = list(models), {name: list[float]() for name in models}
    for number in range(-WARM_UP, rounds):
        read = list(batches.parts(number + WARM_UP))
        parts = [(to_device(inputs, device), to_device(targets, device)) for inputs, targets, _ in read]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # each has every place in a round, and so every neighbour's caches
            elapsed = contenders[name].step(parts)
            if number >= 0:
                seconds[name].append(elapsed)
    return seconds


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def main() -> None:
    """Measure what standard input asks for, and keep it."""
    settings = read_settings()
    config, asked = config_from(settings["config"]), settings["asked"]
    models = {name: GPTConfig(**model) for name, model in asked["models"].items()}
    seconds = measure(config, models, asked["rounds"])
    write_text(config.out / "step_times.json", json.dumps({**asked, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main)
