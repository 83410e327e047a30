"""One run of a comparison: a variant with a learning rate and a seed, trained in its own process.

On SIGTERM, or when the parent process ends, it saves and stops.
"""

import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import read_json, read_text, write_text
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.training.comparing.subprocesses import Process, last_line, read_settings, start_process
from waveletgpt.training.config import OptimizerConfig, TrainConfig, as_flags, differences
from waveletgpt.training.trainer import DivergedError, train


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    kind: Literal["complete", "diverged", "failed"]
    reason: str = ""
    """Why it is not complete."""


@dataclass(frozen=True)
class Trial:
    """A run of a variant. `config.out` is the run's directory; device and precision are decided."""

    variant: str
    config: TrainConfig
    times: int = 1
    """How many times as long it is as the other runs."""

    @property
    def seed(self) -> int:
        """Seed of the initial weights, the order of the data and dropout."""
        return self.config.seed

    @property
    def lr(self) -> float:
        """Peak learning rate (`optimizer.lr`)."""
        return self.config.optimizer.lr

    @property
    def name(self) -> str:
        """Shown to people."""
        longer = f", {self.times} times as long" if self.times > 1 else ""
        return f"{self.variant}, lr {self.lr:g}, seed {self.seed}{longer}"

    @property
    def tokens(self) -> int:
        """Number of tokens that the whole run trains on."""
        return self.config.steps * self.config.batch_size * self.config.model.block_size

    @property
    def log(self) -> Path:
        """Output of its process."""
        return self.config.out.parent / f"{self.config.out.name}.log"

    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far: step, tokens, seconds, train_loss, val_loss (nats per token)."""
        path = self.config.out / "metrics.jsonl"
        try:
            return [json.loads(line) for line in (read_text(path) or "").splitlines()]
        except ValueError:
            raise InputError(f"{path} cannot be read; remove {path.parent}, or choose another --out") from None

    def outcome(self) -> Outcome | None:
        """Complete or diverged, by the files in the run's directory; None if it is not finished."""
        if (self.config.out / "diverged.json").exists():
            return Outcome("diverged", read_json(self.config.out / "diverged.json")["message"])
        if (self.config.out / "state.safetensors").exists():  # the process removes it at the end
            return None
        found = self.evaluations()
        return Outcome("complete") if found and found[-1]["step"] == self.config.steps else None

    def check(self, digests: dict[str, str]) -> None:
        """Raise InputError if the directory holds a run with other settings, or on data with other `digests`."""
        path = self.config.out / "run.json"
        if not path.exists():
            return
        begun = read_json(path)
        if begun.pop("data_digests", None) != digests:
            raise InputError(
                f"{self.config.out} was begun on other data than {self.config.data} holds; give --data the same"
            )
        differ = differences({name: begun[name] for name in begun if name != "changes"}, self.config.to_dict())
        if differ:
            raise InputError(
                f"{self.config.out} was begun with other settings ({', '.join(differ)}); "
                f"continue with {as_flags(differ)}, or choose another --out"
            )

    def start(self) -> Process:
        """Begin or resume the run in a child process."""
        return start_process(
            "waveletgpt.training.comparing.trial", self.config.to_dict(), self.log, self.config.threads
        )

    def final_outcome(self, status: int) -> Outcome:
        """How the run ended, after its process has exited with `status`."""
        if outcome := self.outcome():
            return outcome
        if status < 0:
            return Outcome("failed", f"its process died of {signal.Signals(-status).name}")
        return Outcome("failed", last_line(self.log) or f"its process ended with status {status}")


def config_from_dict(settings: dict[str, Any]) -> TrainConfig:
    """The inverse of `TrainConfig.to_dict`."""
    optimizer = {**settings["optimizer"], "betas": tuple(settings["optimizer"]["betas"])}
    nested = {"model": GPTConfig(**settings["model"]), "optimizer": OptimizerConfig(**optimizer)}
    return TrainConfig(**{**settings, **nested, "data": Path(settings["data"]), "out": Path(settings["out"])})


def main() -> None:
    """Train with the settings on standard input. A finished run keeps no state to resume from."""
    config = config_from_dict(read_settings())
    state = config.out / "state.safetensors"
    try:
        train(replace(config, resume=state.exists() or (config.out / "run.json").exists()))
    except DivergedError as error:
        write_text(config.out / "diverged.json", json.dumps({"message": str(error)}) + "\n")
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    run_command(main)
