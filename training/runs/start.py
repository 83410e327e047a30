"""Where a run begins: with random weights, or with those of a checkpoint."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import read_text
from waveletgpt.models.checkpoint import CheckpointInfo, load_checkpoint
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.registry import same_ids
from waveletgpt.training.config import TrainConfig, as_flags
from waveletgpt.training.data import DatasetInfo


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run begins with."""

    model: GPT
    info: CheckpointInfo
    metrics: list[dict[str, Any]]
    """The lines of its `metrics.jsonl`."""

    def carried_on(self, metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Its lines, and then those of the run, whose steps, tokens and seconds count on from its own."""
        seconds = self.metrics[-1]["seconds"] if self.metrics else 0.0
        before = {"step": self.info.steps, "tokens": self.info.tokens, "seconds": seconds}
        return self.metrics + [
            row | {name: round(row[name] + past, 3) for name, past in before.items()} for row in metrics
        ]


def starting_point(config: TrainConfig, data: DatasetInfo) -> Start | None:
    """The checkpoint of --start-from; None without it.

    Raises:
        InputError: it cannot be loaded, its model has other settings, or its ids have another meaning in the data.
    """
    if config.start_from is None:
        return None
    checkpoint = load_checkpoint(config.start_from, modality=data.modality)
    info = checkpoint.info
    if not same_ids(info.tokenizer, data.tokenizer):
        raise InputError(
            f"{config.start_from} has another tokenizer than {config.data}; prepare the data with the checkpoint's"
        )
    free = {"dropout"} | ({"block_size"} if info.model.rotary else set())  # no weight depends on them
    theirs, ours = asdict(info.model), asdict(config.model)
    differ = {f"model.{name}": value for name, value in theirs.items() if name not in free and value != ours[name]}
    if differ:
        raise InputError(f"{config.start_from} has a model of other settings; give {as_flags(differ)}")
    path = config.start_from / "metrics.jsonl"
    try:
        metrics = [json.loads(line) for line in (read_text(path) or "").splitlines()]
        sum(row[name] for row in metrics for name in ("step", "tokens", "seconds"))
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged; mend it, or delete it to begin without its curve") from None
    return Start(checkpoint.model, info, metrics)


def started_from(info: CheckpointInfo) -> dict[str, Any]:
    """What a later checkpoint keeps about the one that it began with."""
    kept = ("source", "sha256", "settings", "started_from")
    facts = {name: info.trained_on[name] for name in kept if name in info.trained_on}
    own = {"weights_sha256": info.weights_sha256, "block_size": info.model.block_size}
    return {**own, "steps": info.steps, "tokens": info.tokens, **facts}
