"""Measure a checkpoint on a split of prepared data: its loss, and with --samples what its samples are like.

The last line printed is one JSON object.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, check_whole, run_command
from waveletgpt.common.files import json_text
from waveletgpt.common.modalities import Modality, find_modality
from waveletgpt.common.progress import progress_bar
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint, update_info
from waveletgpt.models.devices import pick_device
from waveletgpt.models.muting import muted
from waveletgpt.tokenizers.registry import Tokenizer, same_ids, tokenizer_from_dict
from waveletgpt.training.config import MOST_THREADS
from waveletgpt.training.data import Dataset, check_long_enough, spread_offsets
from waveletgpt.training.evaluation import evaluate
from waveletgpt.training.modalities.base import load_training_modality
from waveletgpt.training.quality.measures import as_json
from waveletgpt.training.quality.samples import GRID, Quality, Settings, closest, held_out_passages, judged, sample


@dataclass(frozen=True)
class Config:
    """The loss of a checkpoint on a split of prepared data, and the quality of its samples."""

    checkpoint: Path
    """Directory of the checkpoint."""
    data: Path
    """Directory of prepared data, with the checkpoint's kind of data and vocabulary."""
    split: Literal["val", "test", "train"] = "val"
    windows: int = 500
    """Number of windows of block_size tokens, evenly spaced over the split; 0 for all of the split."""
    batch_size: int = 16
    """Windows in a forward pass. The loss does not depend on it."""
    samples: int = 0
    """Samples to generate and to measure beside as many held-out passages of the same length; 0 for none."""
    temperature: float | None = None
    """Of the samples, as are top_p and min_p; the checkpoint's own unless one of them is given."""
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    """Seed of the samples."""
    choose: bool = False
    """Try temperatures from 0.6 to 1 with and without top_p and min_p, and store the settings whose samples come
    closest to the held-out passages in the checkpoint's config.json."""
    mute: str = ""
    """Time scales of the wavelet to leave out, as in `waveletgpt generate`: 9, 3: or 3:9, joined by commas."""
    device: str = "auto"
    """auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, mps, ..."""
    threads: int = 0
    """CPU threads; 0 is PyTorch's default."""

    def __post_init__(self) -> None:
        check_whole("--windows", self.windows, 0, "all")
        if self.samples < 0 or self.samples == 1:
            raise InputError(f"--samples is {self.samples}; it must be 0 (none) or 2 and more, for an interval")
        if self.choose and not self.samples:
            raise InputError("--choose judges samples; add --samples, 20 for example")
        check_whole("--samples", self.samples, 0)
        check_whole("--batch-size", self.batch_size, 1)
        check_whole("--threads", self.threads, 0, most=MOST_THREADS)


def measure(config: Config) -> dict[str, Any]:
    """Measure the loss of a checkpoint.

    Returns:
        The loss and what it was measured on, JSON-able.

    Raises:
        InputError: checkpoint and data cannot be used together, or one of them not at all.
    """
    checkpoint, dataset = open_both(config)
    started = time.perf_counter()
    loss, tokens = split_loss(config, checkpoint, dataset)
    report = {
        "checkpoint": config.checkpoint.name,
        "mixer": checkpoint.model.config.mixer,
        "split": config.split,
        **({"mute": config.mute} if config.mute else {}),
        "tokens": tokens,
        "nats_per_token": loss,
        dataset.info.report.replace(" ", "_"): in_unit(loss, dataset.info.report),
        "tokens_per_second": round(tokens / (time.perf_counter() - started)),
    }
    if config.samples:
        quality, length = sample_quality(config, checkpoint, dataset)
        if config.choose:
            update_info(config.checkpoint, sampling=asdict(quality.settings))
        print_quality(quality, count=config.samples, length=length)
        report["samples"] = {
            "count": config.samples,
            "tokens": length,
            **asdict(quality.settings),
            "distance": round(quality.distance, 4),
            **as_json(quality.figures, quality.overlaps),
        }
    return report


def open_both(config: Config) -> tuple[Checkpoint, Dataset]:
    """Open checkpoint and data. Raises InputError if they cannot be used together, or one of them not at all."""
    dataset = Dataset.open(config.data)
    checkpoint = load_checkpoint(config.checkpoint, modality=dataset.info.modality, device=pick_device(config.device))
    checkpoint = replace(checkpoint, model=muted(checkpoint.model, config.mute))
    if not same_ids(checkpoint.info.tokenizer, dataset.info.tokenizer):
        raise InputError(
            f"{config.checkpoint} and {config.data} have different tokenizers; prepare the data again: text with "
            f"--tokenizer {config.checkpoint}, audio with the checkpoint's --sample-rate"
        )
    return checkpoint, dataset


def split_loss(config: Config, checkpoint: Checkpoint, dataset: Dataset) -> tuple[float, int]:
    """The loss on a split (nats per token), and the number of tokens it was measured on."""
    block_size, tokens = checkpoint.model.config.block_size, dataset.tokens(config.split)
    check_long_enough(tokens, block_size, f"{config.data}: the {config.split} split")
    offsets = spread_offsets(len(tokens), block_size, config.windows or len(tokens))
    with progress_bar("windows", len(offsets)) as advance:
        loss = evaluate(checkpoint.model, tokens, offsets, batch_size=config.batch_size, advance=advance)
    return loss, len(offsets) * block_size


def sample_quality(config: Config, checkpoint: Checkpoint, dataset: Dataset) -> tuple[Quality, int]:
    """Measure samples beside held-out passages; returns what was found, the best with --choose, and their length."""
    record, training = find_modality(dataset.info.modality), load_training_modality(dataset.info.modality)
    if training.measures is None:
        raise InputError(f"there are no measures for samples of {record.name}; leave --samples out")
    tokenizer: Tokenizer = tokenizer_from_dict(dataset.info.tokenizer)
    length = training.passage_tokens(tokenizer)
    tokens = dataset.tokens(config.split)
    check_long_enough(tokens, length, f"{config.data}: the {config.split} split")
    passages = held_out_passages(tokens, length, config.samples)
    measures = training.measures(tokenizer, dataset)
    tried = GRID if config.choose else [settings_of(config, checkpoint.info, record)]

    def qualities() -> Iterator[Quality]:
        with progress_bar("tokens", len(tried) * config.samples * length) as advance:
            for settings in tried:
                samples = sample(
                    checkpoint.model,
                    tokenizer.start,
                    settings,
                    length=length,
                    count=config.samples,
                    seed=config.seed,
                    advance=advance,
                )
                yield judged(measures, settings, samples, passages)

    return closest(qualities()), length


def settings_of(config: Config, info: CheckpointInfo, record: Modality) -> Settings:
    """The settings that the command line gives; if it gives none, the checkpoint's own, or its modality's."""
    if (config.temperature, config.top_p, config.min_p) != (None, None, None):
        temperature = record.temperature if config.temperature is None else config.temperature
        return Settings(temperature, config.top_p, config.min_p)
    own: dict[str, Any] = {**info.sampling}
    return Settings(**own) if own else Settings(record.temperature, record.top_p, record.min_p)


def print_quality(quality: Quality, *, count: int, length: int) -> None:
    """Print a table of all measures."""
    head, *rows = quality.rows()
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, soft_wrap=True)
    about = f"{count} samples of {length:,} tokens, {quality.settings}; distance {quality.distance:.3f}"
    console.print(about, table, sep="\n")


def main() -> None:
    """Read the command line, measure and print."""
    config = parse(Config, description=__doc__)
    if config.threads:
        torch.set_num_threads(config.threads)
    print(json_text(measure(config)))


if __name__ == "__main__":
    run_command(main)
