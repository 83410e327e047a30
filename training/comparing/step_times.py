"""Step times of the variants, measured in one process in which they take turns on the same batches.

A disturbance of the machine then affects all of them alike. Each step is compared with the baseline's in the same
round. The times are kept in OUT/step_times.json, and measured again only if something that affects them changes.
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
from waveletgpt.common.files import json_text, write_text
from waveletgpt.models.devices import pick_device
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training.batches import Batches
from waveletgpt.training.comparing.subprocesses import last_line, read_settings, start_process, stop, wait_a_moment
from waveletgpt.training.comparing.trial import config_from_dict
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset
from waveletgpt.training.evaluation import token_loss
from waveletgpt.training.optimizer import make_optimizer
from waveletgpt.training.ranks.devices import pick_autocast, to_device
from waveletgpt.training.ranks.graph import Parts, StepGraph
from waveletgpt.training.ranks.hardware import hardware
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.trainer import launches_at_once

WARM_UP = 3
"""Untimed steps of each variant at the start, which allocate memory, may compile, and capture a CUDA graph."""
Seconds = dict[str, list[float]]
"""For each variant, the seconds of one step in each round."""


@dataclass(frozen=True)
class Ratio:
    """A variant's step time over the baseline's: median and quartiles over the rounds."""

    ratio: float
    q25: float
    q75: float


def ratio(variant: list[float], baseline: list[float]) -> Ratio:
    """Compare the step times of a variant and the baseline in the same rounds."""
    ratios = [a / b for a, b in zip(variant, baseline, strict=True)]
    q25, _, q75 = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median(ratios), q25, q75)


def step_times(
    config: TrainConfig, models: Mapping[str, GPTConfig], rounds: int, stopping: Callable[[], bool]
) -> Seconds:
    """Time `rounds` steps of each model, or read the times from `config.out`/step_times.json.

    Raises:
        InputError: they cannot be measured.
        KeyboardInterrupt: `stopping` returned True.
    """
    path, log = config.out / "step_times.json", config.out / "step_times.log"
    asked = {"rounds": rounds, "settings": _settings(config), "models": {}}
    asked["models"] = json.loads(json.dumps({name: asdict(model) for name, model in models.items()}))
    if (found := _read_times(path, asked)) is None:
        process = start_process(
            "waveletgpt.training.comparing.step_times",
            {"config": config.to_dict(), "asked": asked},
            log,
            config.threads,
        )
        try:
            while process.poll() is None:
                wait_a_moment(stopping)
        finally:
            stop([process])
        if (found := _read_times(path, asked)) is None:
            raise InputError(
                f"step times could not be measured ({last_line(log) or 'the process died'}; see {log}); "
                "--timing-rounds 0 leaves them out"
            )
    return {name: found[name] for name in models}


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Everything but the models that affects step times."""
    keys = ["batch_size", "accumulate", "augment", "compile"]
    if config.compile and not config.cuda_graph:
        keys.append("cuda_graph")
    of_config = {key: getattr(config, key) for key in keys}
    return {**of_config, "optimizer": config.optimizer.name, "hardware": hardware(config)}


def _read_times(path: Path, asked: dict[str, Any]) -> Seconds | None:
    """The times in a file; None unless it has those of all models asked for, measured with the same settings."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seconds: Seconds = content.pop("seconds")
        content["models"] = {name: content["models"][name] for name in asked["models"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return seconds if content == asked else None


class TimedModel:
    """A model that takes training steps as the trainer does."""

    def __init__(self, model: GPTConfig, config: TrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.autocast = config, device, pick_autocast(config.precision, device)
        self.model = GPT(model).to(device)
        self.optimizer = make_optimizer(self.model, config.optimizer)
        self.learn_from = self.learn
        if config.compile:
            self.model.compile()
        if launches_at_once(config, device, Processes()):
            self.optimizer.keep_on_device()
            self.learn_from = StepGraph(self.learn, device, warm_up=WARM_UP - 1)

    def learn(self, parts: Parts) -> Tensor:
        """Learn from a batch. Returns the loss of its last part, on the device."""
        for inputs, targets in parts:
            with self.autocast():
                loss = token_loss(self.model(inputs), targets)
            (loss / len(parts)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def step(self, parts: Parts) -> float:
        """Train on a batch. Returns the seconds until the device is done."""
        _synchronize(self.device)
        started = time.perf_counter()
        self.learn_from(parts)
        _synchronize(self.device)
        return time.perf_counter() - started


def measure(config: TrainConfig, models: Mapping[str, GPTConfig], rounds: int) -> Seconds:
    """Time one step of each model in each round."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_float32_matmul_precision("high")
    if config.compile:  # the models share their code, which PyTorch silently stops compiling beyond a limit
        import_module("torch._dynamo").config.recompile_limit = 8 * (len(models) + 1)
    device = pick_device(config.device)
    batches = Batches(Dataset.open(config.data), config, Processes())
    timed = {name: TimedModel(model, config, device) for name, model in models.items()}
    names, seconds = list(models), {name: list[float]() for name in models}
    for number in range(-WARM_UP, rounds):
        parts = [(to_device(x, device), to_device(y, device)) for x, y in batches.parts(number + WARM_UP)]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # the order rotates, so that each model runs after every other one
            elapsed = timed[name].step(parts)
            if number >= 0:
                seconds[name].append(elapsed)
    return seconds


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def main() -> None:
    """Measure the step times that standard input asks for, and write them to step_times.json."""
    settings = read_settings()
    config, asked = config_from_dict(settings["config"]), settings["asked"]
    models = {name: GPTConfig(**model) for name, model in asked["models"].items()}
    seconds = measure(config, models, asked["rounds"])
    write_text(config.out / "step_times.json", json_text({**asked, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main)
