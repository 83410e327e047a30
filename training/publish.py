"""Publish a trained model: copy its best checkpoint, measure it, and write the figures and samples into its card."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import read_json, read_text
from waveletgpt.common.modalities import find_modality
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict
from waveletgpt.training import evaluate
from waveletgpt.training.data import Dataset
from waveletgpt.training.modalities.base import load_training_modality
from waveletgpt.training.quality.samples import GRID, Quality, sample
from waveletgpt.training.runs.card import model_card, portable_settings

SPLITS: dict[Literal["train", "val", "test"], int] = {"val": 0, "test": 0, "train": 500}
"""The splits in the order of measuring, and the number of windows; 0 for all."""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
SEEDS = (0, 1, 2)
"""Of the three samples in the card."""
CHECKED_SEED = 3
"""Of the samples that are measured: not those by which --choose chose."""


@dataclass(frozen=True)
class Config:
    """A run's best checkpoint as a checkpoint to share."""

    run: Path
    """Directory of a run, or of a checkpoint."""
    data: Path
    """The prepared data that it was trained on."""
    out: Path
    """Directory of the checkpoint to write. One that it already holds is replaced."""
    samples: int = 10
    """Samples to measure beside as many passages of the test split; 0 for none."""
    choose: bool = False
    """Before that, choose the sampling settings on the validation split, as evaluate.py does."""
    hardware: str = ""
    """What it was trained on, for the card; by default what the run noted."""
    batch_size: int = 16
    """Windows in a forward pass. The losses do not depend on it."""
    device: str = "auto"
    """auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, mps, ..."""
    threads: int = 0
    """CPU threads; 0 is PyTorch's default."""

    def measuring(self) -> evaluate.Config:
        """The settings to measure with."""
        return evaluate.Config(
            checkpoint=find_checkpoint(self.run),
            data=self.data,
            samples=self.samples,
            choose=self.choose,
            batch_size=self.batch_size,
            device=self.device,
            threads=self.threads,
        )


def publish(config: Config) -> CheckpointInfo:
    """Measure a checkpoint and write it with its card to `config.out`, atomically.

    Returns:
        What its config.json says: `losses` holds those of the whole validation and test split.

    Raises:
        InputError: run and data cannot be used together, or one of them not at all. Nothing is written.
    """
    measuring, console = config.measuring(), Console(stderr=True, highlight=False, soft_wrap=True)
    source = measuring.checkpoint
    checkpoint, dataset = evaluate.open_both(measuring)
    info = replace(checkpoint.info, trained_on=training_of(config, checkpoint.info))
    if info.trained_on.get("sha256") != dataset.info.splits["train"]["sha256"]:
        raise InputError(f"{source} was trained on other data than {config.data} holds; give --data the same")
    metrics = read_text(source / "metrics.jsonl")
    if not metrics:
        raise InputError(f"{source} has no metrics.jsonl, which says how it was trained")

    losses: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for split, windows in SPLITS.items():
        at = replace(measuring, split=split, windows=windows)
        losses[split], tokens[split] = evaluate.split_loss(at, checkpoint, dataset)
        console.print(f"{SPLIT_NAMES[split]} loss {losses[split]:.4f} nats per token")
    info = replace(info, losses={**info.losses, "val": losses["val"], "test": losses["test"]})
    evaluation = losses_section(info, losses, tokens)
    if config.choose:
        chosen, _ = evaluate.sample_quality(measuring, checkpoint, dataset)
        info = replace(info, sampling=asdict(chosen.settings))
    checkpoint = Checkpoint(checkpoint.model, info)
    if config.samples:
        at = replace(measuring, split="test", choose=False, seed=CHECKED_SEED)
        quality, length = evaluate.sample_quality(at, checkpoint, dataset)
        evaluate.print_quality(quality, count=config.samples, length=length)
        evaluation += quality_section(quality, info, config, length)
    evaluation += samples_section(checkpoint, dataset, config)

    card = model_card(checkpoint.model, info, json.loads(metrics.splitlines()[-1]), evaluation)
    save_checkpoint(config.out, checkpoint.model, info, metrics=metrics, card=card)
    return info


def find_checkpoint(run: Path) -> Path:
    """The best checkpoint of a run, or the checkpoint that `run` is. Raises InputError if it is neither."""
    found = next((path for path in (run / "best", run) if (path / "config.json").is_file()), None)
    if found is None:
        raise InputError(f"{run} holds no checkpoint: neither best/config.json nor config.json")
    return found


def training_of(config: Config, info: CheckpointInfo) -> dict[str, Any]:
    """`trained_on`, with the settings in run.json if the checkpoint of an older run does not have them."""
    path = config.run / "run.json"
    settings = {"settings": portable_settings(read_json(path))} if path.is_file() else {}
    return {**settings, **info.trained_on, **({"hardware": config.hardware} if config.hardware else {})}


def losses_section(info: CheckpointInfo, losses: dict[str, float], tokens: dict[str, int]) -> str:
    """The loss on each split."""
    report = info.trained_on["report"]
    rows = [("split", "windows", report)]
    for split, name in SPLIT_NAMES.items():
        windows = f"{tokens[split] // info.model.block_size:,}, {'spread evenly' if split == 'train' else 'all'}"
        rows.append((name, windows, f"{in_unit(losses[split], report):.4f}"))
    return f"\n## Losses\n\nOver windows of {info.model.block_size} tokens, with these weights.\n\n{_table(rows)}"


def quality_section(quality: Quality, info: CheckpointInfo, config: Config, length: int) -> str:
    """The measures of samples beside those of held-out passages."""
    chosen = f"The settings are the best of {len(GRID)} on the validation split. " if config.choose else ""
    rows = [(row[0].replace("_", " "), *row[1:]) for row in quality.rows()]
    tokens = find_modality(info.modality).tokens
    return (
        f"\n## Samples beside held-out passages\n\n{config.samples} samples of {length:,} {tokens} without a prompt, "
        f"{quality.settings}, beside passages of the test split of the same length. {chosen}"
        f"Intervals of the mean are by the bootstrap over the samples.\n\n{_table(rows)}"
    )


def samples_section(checkpoint: Checkpoint, dataset: Dataset, config: Config) -> str:
    """Three samples: the commands that make them, and their text, or their measures where they cannot be read."""
    info = checkpoint.info
    record, training = find_modality(info.modality), load_training_modality(info.modality)
    tokenizer: Tokenizer = tokenizer_from_dict(info.tokenizer)
    length = training.sample_tokens(tokenizer) if training.quote else training.passage_tokens(tokenizer)
    settings = evaluate.settings_of(config.measuring(), info, record)
    model = checkpoint.model.cpu()  # as `waveletgpt generate`: other devices round differently
    made = [sample(model, tokenizer.start, settings, length=length, count=1, seed=seed)[0] for seed in SEEDS]
    of_length = f"--length {length / training.unit_tokens(tokenizer):g}"
    command = f"waveletgpt generate {info.modality} --checkpoint checkpoints/{config.out.name} {of_length} --seed"
    commands = "\n".join(f"{command} {seed}" for seed in SEEDS)
    text = f"\n## Three samples\n\n```sh\n{commands}\n```\n"
    if training.quote:
        quotes = [training.quote(tokenizer, ids).splitlines() for ids in made]
        return text + "".join(
            f"\nSeed {seed}:\n\n" + "".join(f"    {line}\n" for line in lines)
            for seed, lines in zip(SEEDS, quotes, strict=True)
        )
    if training.measures is None:
        return text
    measures = training.measures(tokenizer, dataset)
    numbers = [measures.numbers(ids) for ids in made]
    rows = [(name.replace("_", " "), *(f"{one[name]:.3g}" for one in numbers)) for name in numbers[0]]
    return f"{text}\n{_table([('measure', *(f'seed {seed}' for seed in SEEDS)), *rows])}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"{head}|{'---|' * (head.count('|') - 1)}\n{''.join(body)}"


def main() -> None:
    """Read the command line, measure and write."""
    config = parse(Config, description=__doc__)
    if config.threads:
        torch.set_num_threads(config.threads)
    publish(config)
    print(config.out)


if __name__ == "__main__":
    run_command(main)
