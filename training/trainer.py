"""The training loop, one for every kind of data and every mixer."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from waveletgpt.common.errors import InputError
from waveletgpt.models.devices import pick_device
from waveletgpt.models.gpt import GPT
from waveletgpt.training.batches import Batches, ReadAhead
from waveletgpt.training.config import MACHINE_SETTINGS, TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, spread_offsets
from waveletgpt.training.evaluation import evaluate, token_loss
from waveletgpt.training.gradients import STEPS as LOOKED_AT
from waveletgpt.training.gradients import GradientCheck
from waveletgpt.training.optimizer import lr_fraction, make_optimizer
from waveletgpt.training.ranks.devices import compute_settings, pick_autocast, pick_precision, to_device
from waveletgpt.training.ranks.graph import Parts, StepGraph
from waveletgpt.training.ranks.parallel import gradient_sync, parallelize
from waveletgpt.training.ranks.processes import Processes, process_group
from waveletgpt.training.runs.progress import TrainingProgress
from waveletgpt.training.runs.run import Run
from waveletgpt.training.runs.start import starting_point
from waveletgpt.training.runs.stopping import Stopped, stop_requested
from waveletgpt.training.runs.tracking import Tracking, check_trackers

LOG_EVERY = 10
"""Steps between two looks at the loss, the clock and the signals, unless they take longer than LOOK_SECONDS."""
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Result:
    """How a run ended. Losses in nats per token."""

    steps: int
    val_loss: float
    best_val_loss: float
    seconds: float
    """Time spent in training steps, without evaluations and saves."""
    is_first: bool = True
    """Whether this process writes files and prints."""


def train(config: TrainConfig, *, modality: str | None = None) -> Result:
    """Train a model on the prepared data in `config.data`; `training.runs.run.Run` describes the files it writes.

    Args:
        config: the settings.
        modality: the kind of data that `config.data` must hold, if it matters.

    Raises:
        InputError: the data or settings cannot be used; nothing has been written.
        GradientError: a parameter of the model does not learn; nothing has been saved.
        DivergedError: the loss is no longer finite; earlier saves are kept.
        DiskFullError: there is no room for a file.
        Stopped: Ctrl-C or SIGTERM asked to stop; the run has been saved.
    """
    with process_group() as processes, stop_requested() as stopping, compute_settings(config.threads):
        with processes.share_errors():
            dataset = Dataset.open(config.data, modality=modality)
            device = pick_device(config.device, processes.local_rank)
            precision = pick_precision(config.precision, device)
            model_config = replace(config.model, vocab_size=dataset.info.vocab_size)
            config = replace(config, model=model_config, precision=precision)
            batches = Batches(dataset, config, processes)
            val_tokens, T = dataset.tokens("val"), config.model.block_size
            check_long_enough(val_tokens, T, f"{config.data}: the val split")
            start = starting_point(config, dataset.info)
            val_offsets = processes.share_evenly(spread_offsets(len(val_tokens), T, config.eval_windows))
            if config.shard and processes.world == 1:
                raise InputError("--shard splits the model among processes; start several with torchrun")
            if processes.is_first:
                check_trackers(config.track)
        shared = {name: value for name, value in config.to_dict().items() if name not in MACHINE_SETTINGS}
        processes.check_same({**shared, "data": dataset.info.splits})

        autocast = pick_autocast(config.precision, device)
        torch.manual_seed(config.seed)
        model = GPT(config.model)
        if start:
            model.load_state_dict(start.model.state_dict())
        forward = parallelize(model, device, processes, shard=config.shard)
        optimizer = make_optimizer(model, config.optimizer)
        gradients = GradientCheck(model, processes, compiled=config.compile)

        def learn(parts: Parts) -> Tensor:
            """Learn from a batch. Returns its loss on the device, so that the CPU need not wait for it."""
            losses = []
            for part, (inputs, targets) in enumerate(parts, 1):
                with gradient_sync(forward, part == len(parts)):
                    with autocast():
                        loss = token_loss(forward(to_device(inputs, device)), to_device(targets, device))
                    (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            gradients.look()
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad()
            return torch.stack(losses).mean()

        read, learn_from = batches.parts, learn
        if config.compile:
            forward.compile()
        if device.type == "cuda":
            read = ReadAhead(batches.parts, config.steps).parts
        if launches_at_once(config, device, processes):
            optimizer.keep_on_device()
            learn_from = StepGraph(learn, device, warm_up=LOOKED_AT)

        def take_step(step: int) -> Tensor:
            """Learn from the batch of `step`. Returns its loss on the device."""
            optimizer.set_lr(lr_fraction(config.optimizer, step, config.steps))
            torch.manual_seed(dropout_seed(config.seed, step, processes.rank))
            return learn_from(read(step))

        console = Console(highlight=False, soft_wrap=True, quiet=not processes.is_first)
        with (
            Run(config, dataset.info, model, optimizer, start=start, processes=processes, console=console) as run,
            Tracking(config, run.progress.step, console, wanted=processes.is_first) as tracking,
            TrainingProgress(config, dataset.info, run.progress.step, console, tracking) as display,
        ):
            progress, stride = run.progress, 1
            while progress.step < config.steps:
                started = time.perf_counter()
                begin, end = progress.step, next_pause(progress.step, config, stride)
                losses = processes.means(torch.stack([take_step(step) for step in range(begin, end)]))
                seconds = time.perf_counter() - started
                evaluates = end % config.eval_every == 0 or end == config.steps
                gradients.judge(early=evaluates or not all(map(math.isfinite, losses)))
                check_finite(losses, begin, run)
                progress.advance(losses, seconds)
                stride = steps_within(LOOK_SECONDS, processes.mean(seconds / len(losses)))
                display.update(end, losses, seconds)

                if evaluates:
                    train_loss = progress.loss_sum / progress.loss_count
                    mean = evaluate(model, val_tokens, val_offsets, batch_size=config.batch_size, autocast=autocast)
                    val_loss = processes.mean(mean)
                    check_finite([val_loss], end - 1, run)
                    is_best = run.record(train_loss, val_loss)
                    display.evaluated(train_loss, val_loss, is_best=is_best)
                if processes.any(stopping()) and end < config.steps:
                    gradients.judge(early=True)
                    run.save()
                    display.stopped()
                    raise Stopped(end)
    val_loss = progress.metrics[-1]["val_loss"]
    return Result(progress.step, val_loss, progress.best_val_loss, progress.seconds, processes.is_first)


def launches_at_once(config: TrainConfig, device: torch.device, processes: Processes) -> bool:
    """Whether a step is launched as one CUDA graph. Several processes launch theirs piece by piece: DDP and FSDP2 send
    gradients in hooks, which a graph does not hold.
    """
    return config.compile and config.cuda_graph and device.type == "cuda" and processes.world == 1


class DivergedError(InputError):
    """The loss is no longer finite."""


def check_finite(losses: list[float], step: int, run: Run) -> None:
    """Raise DivergedError if one of the `losses` of the steps after `step` is not finite. Called before a save."""
    for at, loss in enumerate(losses, step + 1):
        if not math.isfinite(loss):
            saved = f"go on from step {run.saved_at:,}, the last saved, with --resume --allow-changes"
            raise DivergedError(
                f"the loss is no longer finite at step {at:,}; {saved if run.saved_at else 'begin again'} "
                "and a lower --optimizer.lr, a lower --optimizer.clip or --precision float32"
            )


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's dropout on one process. It depends on nothing else, so that runs can be resumed."""
    return int(np.random.SeedSequence([seed, step], spawn_key=(1 + rank,)).generate_state(1, np.uint64)[0] >> 1)


def next_pause(step: int, config: TrainConfig, stride: int = LOG_EVERY) -> int:
    """The next step after which to pause: every `stride` steps to show progress, to evaluate, and at the end."""
    return min((step // stride + 1) * stride, (step // config.eval_every + 1) * config.eval_every, config.steps)


def steps_within(seconds: float, each: float) -> int:
    """How many steps of `each` seconds fit into `seconds`, from 1 to LOG_EVERY."""
    return max(1, min(LOG_EVERY, int(seconds / max(each, 1e-9))))
