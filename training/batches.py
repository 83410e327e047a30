"""What each step learns from: a function of seed and step, whatever the model, whoever reads it, however often."""

from collections.abc import Iterator

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, training_offsets, windows_at
from waveletgpt.training.modalities.augmentation import augmentation
from waveletgpt.training.ranks.processes import Processes


class Batches:
    """This process's share of every step's batch of windows of the training split.

    Raises InputError if there are too few tokens for a window, or if the processes, each in --accumulate parts, cannot
    share a batch evenly.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, processes: Processes) -> None:
        parts = f", in {config.accumulate} parts each" if config.accumulate > 1 else ""
        if config.batch_size % (processes.world * config.accumulate):
            raise InputError(
                f"--batch-size is {config.batch_size}; {processes.world} processes cannot share it evenly{parts}"
            )
        self.config, self.tokens = config, dataset.tokens("train")
        check_long_enough(self.tokens, config.model.block_size, f"{dataset.directory}: the train split")
        self.places = processes.share(list(range(config.batch_size)))
        self.augment = None
        if config.augment:
            self.augment = augmentation(dataset.info.modality, dataset.info.tokenizer, config.seed)

    def parts(self, step: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Inputs and targets, each (B, T) int64, of each part of the share in `step`; and whether it is the last."""
        config, T = self.config, self.config.model.block_size
        offsets = training_offsets(len(self.tokens), T, config.batch_size, seed=config.seed, step=step)
        for part in range(config.accumulate):
            places = self.places[part :: config.accumulate]
            inputs, targets = windows_at(self.tokens, [offsets[place] for place in places], T)
            if self.augment:
                windows = torch.cat([inputs, targets[:, -1:]], dim=1)  # (B, T + 1)
                windows = torch.from_numpy(self.augment(windows.numpy(), step, places))
                inputs, targets = windows[:, :-1], windows[:, 1:]
            yield inputs, targets, part == config.accumulate - 1
