"""Training batches. They depend only on the seed and the step, not on the model, the processes or earlier steps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, training_offsets, windows_at
from waveletgpt.training.modalities.augmentation import augmentation
from waveletgpt.training.ranks.processes import Processes


class Batches:
    """This process's share of the batch of every step: windows of the training split.

    Raises:
        InputError: the split is shorter than a window, or the processes cannot share a batch evenly, each in
            --accumulate parts.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, processes: Processes) -> None:
        parts = f", in {config.accumulate} parts each" if config.accumulate > 1 else ""
        if config.batch_size % (processes.world * config.accumulate):
            raise InputError(
                f"--batch-size is {config.batch_size}; {processes.world} processes cannot share it evenly{parts}"
            )
        self.config, self.tokens = config, dataset.tokens("train")
        check_long_enough(self.tokens, config.model.block_size, f"{dataset.directory}: the train split")
        self.rows = processes.share(list(range(config.batch_size)))
        self.augment = None
        if config.augment:
            self.augment = augmentation(dataset.info.modality, dataset.info.tokenizer, config.seed)

    def parts(self, step: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Read this process's share of a step's batch, in --accumulate parts.

        Yields:
            Inputs and targets, each (B, T) int64, and whether this is the last part.
        """
        config, T = self.config, self.config.model.block_size
        offsets = training_offsets(len(self.tokens), T, config.batch_size, seed=config.seed, step=step)
        for part in range(config.accumulate):
            rows = self.rows[part :: config.accumulate]
            inputs, targets = windows_at(self.tokens, [offsets[row] for row in rows], T)
            if self.augment:
                windows = torch.cat([inputs, targets[:, -1:]], dim=1)  # (B, T + 1)
                windows = torch.from_numpy(self.augment(windows.numpy(), step, rows))
                inputs, targets = windows[:, :-1], windows[:, 1:]
            yield inputs, targets, part == config.accumulate - 1
