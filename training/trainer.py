"""The training loop, one for every kind of data and every mixer."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT
from waveletgpt.training.batches import Batches
from waveletgpt.training.config import OF_A_MACHINE, TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, spread_offsets
from waveletgpt.training.evaluation import evaluate, token_loss
from waveletgpt.training.optimizer import make_optimizer, rate_fraction
from waveletgpt.training.ranks.parallel import gradients_meet, spread
from waveletgpt.training.ranks.processes import pick_autocast, pick_device, pick_precision, process_group, to_device
from waveletgpt.training.runs.progress import TrainingProgress
from waveletgpt.training.runs.run import Run
from waveletgpt.training.runs.stopping import Stopped, stop_requested

LOG_EVERY = 10
"""Steps between two looks at the loss, the clock and the signals, if these take no longer than LOOK_SECONDS."""
LOOK_SECONDS = 2.0


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
    no longer finite; DiskFullError; and Stopped, after saving, when Ctrl-C or SIGTERM asked to stop.
    """
    with process_group() as processes, stop_requested() as stopping:
        with processes.together():
            dataset = Dataset.open(config.data, modality=modality)
            device = pick_device(config.device, processes.local_rank)
            precision = pick_precision(config.precision, device)
            model_config = replace(config.model, vocab_size=dataset.info.vocab_size)
            config = replace(config, model=model_config, precision=precision)
            batches = Batches(dataset, config, processes)
            val_tokens, T = dataset.tokens("val"), config.model.block_size
            check_long_enough(val_tokens, T, f"{config.data}: the val split")
            validation = processes.share_evenly(spread_offsets(len(val_tokens), T, config.eval_windows))
            if config.shard and processes.world == 1:
                raise InputError("--shard splits the model among processes; start several with torchrun")
        shared = {name: value for name, value in config.to_dict().items() if name not in OF_A_MACHINE}
        processes.check_same({**shared, "data": dataset.info.splits})

        if config.threads:
            torch.set_num_threads(config.threads)
        torch.set_float32_matmul_precision("high")
        autocast = pick_autocast(config.precision, device)
        torch.manual_seed(config.seed)
        model = GPT(config.model)
        forward = spread(model, device, processes, shard=config.shard)
        optimizer = make_optimizer(model, config.optimizer)
        if config.compile:
            forward.compile()

        def take_step(step: int) -> Tensor:
            """Learn from the batch of `step`; its loss stays on the device, so that no step waits for it."""
            optimizer.set_rate(rate_fraction(config.optimizer, step, config.steps))
            torch.manual_seed(dropout_seed(config.seed, step, processes.rank))
            losses = []
            for inputs, targets, is_last in batches.parts(step):
                with gradients_meet(forward, is_last):
                    with autocast():
                        loss = token_loss(forward(to_device(inputs, device)), to_device(targets, device))
                    (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad()
            return torch.stack(losses).mean()

        console = Console(highlight=False, soft_wrap=True, quiet=not processes.is_first)
        with (
            Run(config, dataset.info, model, optimizer, processes=processes, console=console) as run,
            TrainingProgress(config, dataset.info, run.standing.step, console) as progress,
        ):
            standing, stride = run.standing, 1
            while standing.step < config.steps:
                started = time.perf_counter()
                begin, end = standing.step, next_pause(standing.step, config, stride)
                losses = processes.means(torch.stack([take_step(step) for step in range(begin, end)]))
                seconds = time.perf_counter() - started
                check_finite(losses, begin, run)
                standing.advance(losses, seconds)
                stride = steps_within(LOOK_SECONDS, processes.mean(seconds / len(losses)))
                progress.update(end, losses, seconds)

                if end % config.eval_every == 0 or end == config.steps:
                    train_loss = standing.loss_sum / standing.loss_count
                    mean = evaluate(model, val_tokens, validation, batch_size=config.batch_size, autocast=autocast)
                    val_loss = processes.mean(mean)
                    check_finite([val_loss], end - 1, run)
                    is_best = run.record(train_loss, val_loss)
                    progress.evaluated(train_loss, val_loss, is_best=is_best)
                if processes.any(stopping()) and end < config.steps:
                    run.save()
                    progress.stopped()
                    raise Stopped(end)
    val_loss = standing.metrics[-1]["val_loss"]
    return Result(standing.step, val_loss, standing.best_val_loss, standing.seconds, processes.is_first)


class DivergedError(InputError):
    """The loss is no longer finite."""


def check_finite(losses: list[float], step: int, run: Run) -> None:
    """DivergedError if training has diverged in the steps that follow `step`; called before anything is saved."""
    for at, loss in enumerate(losses, step + 1):
        if not math.isfinite(loss):
            saved = f"go on from step {run.saved_at:,}, the last saved, with --resume --allow-changes"
            raise DivergedError(
                f"the loss is no longer finite at step {at:,}; {saved if run.saved_at else 'begin again'} "
                "and a lower --optimizer.lr, a lower --optimizer.clip or --precision float32"
            )


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """What seeds the random draws of a step on one process: a function of these alone, as the order of the data is."""
    return int(np.random.SeedSequence([seed, step], spawn_key=(1 + rank,)).generate_state(1, np.uint64)[0] >> 1)


def next_pause(step: int, config: TrainConfig, stride: int = LOG_EVERY) -> int:
    """The step after `step` at which to look up: to show progress every `stride` steps, to evaluate, or to end."""
    return min((step // stride + 1) * stride, (step // config.eval_every + 1) * config.eval_every, config.steps)


def steps_within(seconds: float, each: float) -> int:
    """How many steps that take `each` seconds fit into `seconds`, from 1 to LOG_EVERY."""
    return max(1, min(LOG_EVERY, int(seconds / max(each, 1e-9))))
