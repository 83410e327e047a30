"""A run's directory: what it holds, how it is begun, saved and resumed."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import write_text
from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.gpt import GPT
from waveletgpt.training.card import model_card
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.state import load_state, read_facts, save_state

MAY_DIFFER = {"data", "out", "resume", "device", "threads", "compile"}
"""Settings that may differ between a run and its resumption."""


@dataclass
class Standing:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Spent in training steps."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last evaluation, and their number."""
    loss_count: int = 0
    best_val_loss: float = math.inf
    metrics: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A run in progress.

    run.json           the settings
    metrics.jsonl      one line an evaluation: step, tokens, seconds, train_loss, val_loss
    last/, best/       checkpoints, of the last evaluation and of the lowest validation loss
    state.safetensors  what only resuming needs
    """

    def __init__(
        self,
        config: TrainConfig,
        data: DatasetInfo,
        model: GPT,
        optimizer: torch.optim.Optimizer,
        *,
        writes: bool,
    ) -> None:
        self.config, self.data, self.model, self.optimizer, self.writes = (
            config,
            data,
            model,
            optimizer,
            writes,
        )
        self.state_path = config.out / "state.safetensors"
        self.standing = self._resumed() if config.resume else self._begun()

    def _begun(self) -> Standing:
        if self.state_path.exists():
            raise InputError(f"{self.config.out} already holds a run; add --resume, or choose another --out")
        if self.writes:
            settings = {**self.config.to_dict(), "data_digests": self._digests()}
            write_text(self.config.out / "run.json", json.dumps(settings, indent=2) + "\n")
        return Standing()

    def _resumed(self) -> Standing:
        if not self.state_path.exists():
            raise InputError(f"{self.config.out} holds no run to resume; leave --resume out to begin one")
        facts = read_facts(self.state_path)
        now = {**self.config.to_dict(), "data_digests": self._digests()}
        differ = [name for name in now if name not in MAY_DIFFER and facts["config"].get(name) != now[name]]
        if differ:
            raise InputError(
                f"{self.config.out} was begun with other settings ({', '.join(differ)}); "
                "resume with the same ones, or choose another --out"
            )
        load_state(self.state_path, self.model, self.optimizer)
        return Standing(**facts["standing"])

    def _digests(self) -> dict[str, str]:
        return {split: facts["sha256"] for split, facts in self.data.splits.items()}

    def save_state(self) -> None:
        """Write what resuming needs."""
        if self.writes:
            settings = {**self.config.to_dict(), "data_digests": self._digests()}
            facts = {"config": settings, "standing": asdict(self.standing)}
            save_state(self.state_path, self.model, self.optimizer, facts)

    def record(self, train_loss: float, val_loss: float) -> bool:
        """Take in an evaluation and save everything; returns whether its validation loss is the lowest yet."""
        standing, config = self.standing, self.config
        is_best = val_loss < standing.best_val_loss
        standing.best_val_loss = min(val_loss, standing.best_val_loss)
        standing.loss_sum, standing.loss_count = 0.0, 0
        tokens = standing.step * config.batch_size * config.model.block_size
        line = {"step": standing.step, "tokens": tokens, "seconds": round(standing.seconds, 3)}
        standing.metrics.append({**line, "train_loss": train_loss, "val_loss": val_loss})
        if not self.writes:
            return is_best
        info = CheckpointInfo(
            modality=self.data.modality,
            model=config.model,
            tokenizer=self.data.tokenizer,
            trained_on={
                "source": self.data.source,
                "licence": self.data.licence,
                "report": self.data.report,
                "sha256": self._digests().get("train"),
            },
            steps=standing.step,
            tokens=tokens,
            seed=config.seed,
            losses={"train": train_loss, "val": val_loss},
        )
        lines = "".join(json.dumps(row) + "\n" for row in standing.metrics)
        write_text(config.out / "metrics.jsonl", lines)
        for name in ["last", "best"] if is_best else ["last"]:
            card = model_card(self.model, info, config)
            save_checkpoint(config.out / name, self.model, info, metrics=lines, card=card)
        self.save_state()
        return is_best
