"""One run of a comparison: a variant with a learning rate and a seed, trained in its own process.

On SIGTERM, or when the parent process ends, it saves and stops.
"""

import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import json_text, read_json, read_text, write_text
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.devices import pick_device
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.training.comparing.subprocesses import Process, last_line, read_settings, start_process
from waveletgpt.training.config import OptimizerConfig, TrainConfig, as_flags, differences
from waveletgpt.training.data import Dataset, spread_offsets
from waveletgpt.training.evaluation import evaluate
from waveletgpt.training.ranks.devices import compute_settings, pick_autocast
from waveletgpt.training.trainer import DivergedError, train

FINAL = "final.json"
"""The file of a run's final loss."""


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
    final_windows: int = 0
    """Windows of the validation split that its final loss is measured on; 0 takes that of the last evaluation."""

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

    def final_loss(self) -> float:
        """The loss of the final weights, in nats per token, of a run that is complete."""
        loss: float = (self._final() or self.evaluations()[-1])["val_loss"]
        return loss

    def _final(self) -> dict[str, Any] | None:
        """What `measure_final_loss` wrote; None unless it measured `final_windows` windows."""
        path = self.config.out / FINAL
        found = read_json(path) if path.exists() else {}
        return found if found.get("windows") == self.final_windows else None

    def is_trained(self) -> bool:
        """Whether the last step has been taken and saved."""
        if (self.config.out / "state.safetensors").exists():  # the process removes it after the last step
            return False
        found = self.evaluations()
        return bool(found) and bool(found[-1]["step"] == self.config.steps)

    def outcome(self) -> Outcome | None:
        """Complete or diverged, by the files in the run's directory; None if it is not finished."""
        if (self.config.out / "diverged.json").exists():
            return Outcome("diverged", read_json(self.config.out / "diverged.json")["message"])
        is_measured = not self.final_windows or self._final() is not None
        return Outcome("complete") if self.is_trained() and is_measured else None

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
        """Begin or resume the run in a child process. One that is trained is only measured."""
        settings = {**self.config.to_dict(), "final_windows": self.final_windows}
        return start_process("waveletgpt.training.comparing.trial", settings, self.log, self.config.threads)

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


def measure_final_loss(config: TrainConfig, windows: int) -> None:
    """Measure the loss of the final weights on `windows` windows of the validation split, and write it to final.json.

    Raises:
        InputError: the checkpoint `last` or the data cannot be read.
    """
    device = pick_device(config.device)
    model = load_checkpoint(config.out / "last", device=device).model
    tokens = Dataset.open(config.data).tokens("val")
    offsets = spread_offsets(len(tokens), config.model.block_size, windows)
    with compute_settings(config.threads):
        autocast = pick_autocast(config.precision, device)
        loss = evaluate(model, tokens, offsets, batch_size=config.batch_size, autocast=autocast)
    write_text(config.out / FINAL, json_text({"windows": windows, "val_loss": loss}) + "\n")


def main() -> None:
    """Train with the settings on standard input, then measure. A finished run keeps no state to resume from."""
    settings = read_settings()
    windows = settings.pop("final_windows", 0)
    config = config_from_dict(settings)
    state = config.out / "state.safetensors"
    if not Trial("", config).is_trained():
        try:
            train(replace(config, resume=state.exists() or (config.out / "run.json").exists()))
        except DivergedError as error:
            write_text(config.out / "diverged.json", json.dumps({"message": str(error)}) + "\n")
            windows = 0
        state.unlink(missing_ok=True)
    if windows:
        measure_final_loss(config, windows)


if __name__ == "__main__":
    run_command(main)
