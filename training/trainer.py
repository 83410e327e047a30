"""The training loop, one for every kind of data and every mixer."""

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, spread_offsets, training_offsets, windows_at
from waveletgpt.training.evaluation import evaluate, token_loss
from waveletgpt.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from waveletgpt.training.processes import pick_autocast, pick_device, process_group, stop_requested
from waveletgpt.training.progress import TrainingProgress
from waveletgpt.training.run import Run

LOG_EVERY = 10
"""Steps between two looks at the loss, the clock and the signals."""


@dataclass(frozen=True)
class Result:
    """How a run ended. Losses in nats per token."""

    steps: int
    val_loss: float
    best_val_loss: float
    seconds: float
    """Spent in training steps; evaluations and saves do not count."""
    is_first: bool = True
    """Whether this process is the one that writes and speaks."""


def train(config: TrainConfig, *, modality: str | None = None) -> Result:
    """Train a model on the prepared data in `config.data`; `training.run.Run` says what is written.

    Raises InputError for data or settings that cannot be used, before anything is written, and when the loss is
    no longer finite; KeyboardInterrupt when Ctrl-C or SIGTERM asked to stop, after saving.
    """
    with process_group() as processes, stop_requested() as stopping:
        dataset = Dataset.open(config.data, modality=modality)
        config = replace(config, model=replace(config.model, vocab_size=dataset.info.vocab_size))
        T = config.model.block_size
        train_tokens, val_tokens = dataset.tokens("train"), dataset.tokens("val")
        check_long_enough(train_tokens, T, f"{config.data}: the train split")
        check_long_enough(val_tokens, T, f"{config.data}: the val split")
        if config.batch_size % processes.world:
            raise InputError(f"--batch-size is {config.batch_size}; {processes.world} processes cannot share it evenly")

        if config.threads:
            torch.set_num_threads(config.threads)
        torch.set_float32_matmul_precision("high")
        device = pick_device(config.device, processes.local_rank)
        autocast = pick_autocast(config.precision, device)
        torch.manual_seed(config.seed)
        model = GPT(config.model).to(device)
        optimizer = make_optimizer(model, config.optimizer)
        run = Run(config, dataset.info, model, optimizer, writes=processes.is_first)
        forward: nn.Module = DistributedDataParallel(model) if processes.world > 1 else model
        if config.compile:
            forward.compile()

        def take_step(step: int) -> Tensor:
            """Learn from the batch of `step`; its loss stays on the device, so that no step waits for it."""
            set_learning_rate(optimizer, learning_rate(config.optimizer, step, config.steps))
            offsets = training_offsets(len(train_tokens), T, config.batch_size, seed=config.seed, step=step)
            inputs, targets = windows_at(train_tokens, processes.share(offsets), T)
            with autocast():
                loss = token_loss(forward(inputs.to(device)), targets.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.detach()

        standing = run.standing
        validation = spread_offsets(len(val_tokens), T, config.eval_windows)
        with TrainingProgress(config, dataset.info, standing.step, shown=processes.is_first) as progress:
            while standing.step < config.steps:
                started = time.perf_counter()
                end = next_pause(standing.step, config)
                losses = torch.stack([take_step(step) for step in range(standing.step, end)]).double()
                standing.loss_sum += float(losses.sum())
                standing.loss_count += len(losses)
                standing.step = end
                standing.seconds += time.perf_counter() - started
                check_finite(processes.mean(standing.loss_sum), config, end)
                progress.update(end, float(losses[-1]))

                if end % config.eval_every == 0 or end == config.steps:
                    train_loss = processes.mean(standing.loss_sum / standing.loss_count)
                    val_loss = evaluate(model, val_tokens, validation, batch_size=config.batch_size, autocast=autocast)
                    check_finite(val_loss, config, end)
                    is_best = run.record(train_loss, val_loss)
                    progress.evaluated(train_loss, val_loss, is_best=is_best)
                if processes.any(stopping()) and end < config.steps:
                    standing.loss_sum = processes.mean(standing.loss_sum)  # what every process resumes from
                    run.save_state()
                    progress.stopped()
                    raise KeyboardInterrupt
    val_loss = standing.metrics[-1]["val_loss"]
    return Result(standing.step, val_loss, standing.best_val_loss, standing.seconds, processes.is_first)


def check_finite(loss: float, config: TrainConfig, step: int) -> None:
    """InputError if training has diverged; called before anything is saved."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is no longer finite at step {step}; try a lower --optimizer.lr "
            f"(what {config.out} holds is from before)"
        )


def next_pause(step: int, config: TrainConfig) -> int:
    """The step after `step` at which to look up: to show progress, evaluate, or end."""
    return min((step // LOG_EVERY + 1) * LOG_EVERY, (step // config.eval_every + 1) * config.eval_every, config.steps)
