"""One run of a comparison: a variant with a seed and a learning rate, trained by a process of its own.

At SIGTERM, and when the process that started it goes, it saves and stops.
"""

import json
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import read_json, read_text, write_text
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.training.comparing.subprocesses import last_line, read_settings, start_process
from waveletgpt.training.config import OptimizerConfig, TrainConfig, as_flags, differences
from waveletgpt.training.trainer import DivergedError, train


@dataclass(frozen=True)
class Outcome:
    """How a run has ended."""

    kind: Literal["complete", "diverged", "failed"]
    why: str = ""
    """Why it did not complete."""


@dataclass(frozen=True)
class Trial:
    """A run: who trains what, and where. `config` is as the trainer resolves it, its `out` the run's directory."""

    variant: str
    config: TrainConfig

    @property
    def seed(self) -> int:
        """Decides initial weights, the order of the data and dropout."""
        return self.config.seed

    @property
    def lr(self) -> float:
        """Peak learning rate."""
        return self.config.optimizer.lr

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.variant}, lr {self.lr:g}, seed {self.seed}"

    @property
    def tokens(self) -> int:
        """How many it trains on in all."""
        return self.config.steps * self.config.batch_size * self.config.model.block_size

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.config.out.parent / f"{self.config.out.name}.log"

    def rows(self) -> list[dict[str, Any]]:
        """Its evaluations until now: step, tokens, seconds, train_loss, val_loss (nats per token)."""
        path = self.config.out / "metrics.jsonl"
        try:
            return [json.loads(line) for line in (read_text(path) or "").splitlines()]
        except ValueError:
            raise InputError(f"{path} cannot be read; remove {path.parent}, or choose another --out") from None

    def outcome(self) -> Outcome | None:
        """What the directory says: complete, diverged, or None where there is something left to do."""
        if (self.config.out / "diverged.json").exists():
            return Outcome("diverged", read_json(self.config.out / "diverged.json")["message"])
        if self._state.exists():  # the process removes it when nothing is left to do
            return None
        rows = self.rows()
        return Outcome("complete") if rows and rows[-1]["step"] == self.config.steps else None

    def check(self, digests: dict[str, str]) -> None:
        """InputError if the directory holds a run with other settings, or on other data than of `digests`."""
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
                f"go on with {as_flags(differ)}, or choose another --out"
            )

    def start(self) -> "subprocess.Popen[bytes]":
        """Begin the run, or go on with it, in a process of its own."""
        return start_process(
            "waveletgpt.training.comparing.trial", self.config.to_dict(), self.log, self.config.threads
        )

    def ended(self, status: int) -> Outcome:
        """How it has ended, now that its process has with `status`."""
        if outcome := self.outcome():
            return outcome
        if status < 0:
            return Outcome("failed", f"its process died of {signal.Signals(-status).name}")
        return Outcome("failed", last_line(self.log) or f"its process ended with status {status}")

    @property
    def _state(self) -> Path:
        return self.config.out / "state.safetensors"


def config_from(settings: dict[str, Any]) -> TrainConfig:
    """The settings that `TrainConfig.to_dict` made these of."""
    optimizer = {**settings["optimizer"], "betas": tuple(settings["optimizer"]["betas"])}
    nested = {"model": GPTConfig(**settings["model"]), "optimizer": OptimizerConfig(**optimizer)}
    return TrainConfig(**{**settings, **nested, "data": Path(settings["data"]), "out": Path(settings["out"])})


def main() -> None:
    """Train; leave what the report and its readers need, and no state to resume from when nothing is left to do."""
    config = config_from(read_settings())
    state = config.out / "state.safetensors"
    try:
        train(replace(config, resume=state.exists() or (config.out / "run.json").exists()))
    except DivergedError as error:
        write_text(config.out / "diverged.json", json.dumps({"message": str(error)}) + "\n")
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    run_command(main)
