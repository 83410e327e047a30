"""DNA: preparing a file of bases, writing samples, and augmentation by reversed windows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from toy.tokenizers.bases import BaseTokenizer

from waveletgpt.common.errors import run_command
from waveletgpt.common.files import write_text
from waveletgpt.common.modalities import find_modality
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.modalities.base import Draws, Pair, TrainingModality, Windows, pair
from waveletgpt.training.preparing.command import PrepareConfig, prepare_command


def prepare(config: PrepareConfig) -> DatasetInfo:
    """Encode one file, split by position."""
    record, tokenizer = find_modality("dna"), BaseTokenizer()
    ids = tokenizer.encode(Path(config.source).read_text().strip())
    val, test = len(ids) * 90 // 100, len(ids) * 95 // 100
    info = DatasetInfo(
        modality=record.name,
        tokenizer=tokenizer.to_dict(),
        vocab_size=tokenizer.vocab_size,
        report=record.loss_unit,
        **config.provenance("", ""),
    )
    return write_dataset(config.out, info, {"train": [ids[:val]], "val": [ids[val:test]], "test": [ids[test:]]})


def write(path: Path, tokenizer: BaseTokenizer, ids: Tensor) -> None:
    write_text(path, tokenizer.decode(ids) + "\n")


def augment(tokenizer: dict[str, Any]) -> Callable[[Windows, Draws], Pair]:
    def reverse_half(windows: Windows, draws: Draws) -> Pair:
        changed = windows.copy()
        reverse = draws[:, 0] < 0.5
        changed[reverse] = windows[reverse, ::-1]
        return pair(changed)

    return reverse_half


TRAINING_MODALITY = TrainingModality(suffix=".seq", sample_tokens=lambda _: 30, write=write, augment=augment)

if __name__ == "__main__":
    run_command(lambda: prepare_command(PrepareConfig, prepare, lambda _, info: f"{info.splits}", __doc__ or ""))
