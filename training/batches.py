"""Training batches. They depend only on the seed and the step, not on the model, the processes or earlier steps."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, training_offsets, windows_at
from waveletgpt.training.modalities.augmentation import augmentation
from waveletgpt.training.ranks.graph import Parts
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

    def parts(self, step: int) -> Parts:
        """Read this process's share of a step's batch: inputs and targets, each (B, T) int64, of --accumulate parts."""
        config, T, parts = self.config, self.config.model.block_size, list[tuple[Tensor, Tensor]]()
        offsets = training_offsets(len(self.tokens), T, config.batch_size, seed=config.seed, step=step)
        for part in range(config.accumulate):
            rows = self.rows[part :: config.accumulate]
            inputs, targets = windows_at(self.tokens, [offsets[row] for row in rows], T)
            if self.augment:
                windows = torch.cat([inputs, targets[:, -1:]], dim=1)  # (B, T + 1)
                inputs, targets = map(torch.from_numpy, self.augment(windows.numpy(), step, rows))
            parts.append((inputs, targets))
        return parts


class ReadAhead:
    """Reads batches in threads, some steps ahead, so that a GPU need not wait for them.

    Changing the windows of --augment takes a core longer than a GPU takes for a step of a small model.
    """

    THREADS = 4

    def __init__(self, read: Callable[[int], Parts], steps: int) -> None:
        """`read` is `Batches.parts`; `steps` are those of the whole run."""
        self.read, self.steps = read, steps
        self.pool, self.ahead = ThreadPoolExecutor(self.THREADS), dict[int, Future[Parts]]()

    def parts(self, step: int) -> Parts:
        """The batch of a step. Those of the next steps are being read when this returns."""
        for later in range(step, min(step + 2 * self.THREADS, self.steps)):
            if later not in self.ahead:
                self.ahead[later] = self.pool.submit(self.read, later)
        return self.ahead.pop(step).result()
