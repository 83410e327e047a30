"""`waveletgpt generate`: one checkpoint, any number of samples, to the screen or to files."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from waveletgpt.app.checkpoints import LoadedCheckpoint, load
from waveletgpt.app.commands import Generate
from waveletgpt.app.modalities.base import AppModality, load_modality
from waveletgpt.app.streaming import Completion, make_ready, stream
from waveletgpt.common.errors import InputError
from waveletgpt.common.units import in_unit
from waveletgpt.models.sampling import Sampling

REFRESH = 0.1  # seconds


def run(options: Generate) -> None:
    """Run the command. Raises InputError before anything is written."""
    modality = load_modality(options.kind)
    prompt = _prompt(options, modality)
    if options.samples < 1:
        raise InputError(f"--samples is {options.samples}; it must be 1 or more")
    targets = _targets(options, modality)
    torch.set_num_threads(1)  # a token is too little work to split: more threads are slower
    loaded = load(options.checkpoint, modality.name, modality.tokenizer_kind)
    length = _or(options.length, modality.length.default)
    task = modality.task(loaded, prompt, length, _or(options.keep, modality.keep.default))
    given = {name: getattr(options, name) for name in ("temperature", "top_p", "min_p")}
    own: dict[str, Any] = modality.sampling(loaded.info)
    sampling = Sampling(
        **{name: own[name] if value is None else value for name, value in given.items()},
        top_k=options.top_k,
        repetition_penalty=options.repetition_penalty,
        seed=options.seed,
    )
    make_ready()  # before the clock for tokens/s starts
    snapshots = (completions for (completions,) in stream([task], sampling, samples=options.samples, every=REFRESH))
    if targets:
        completions = _with_progress_bar(snapshots, modality)
        for completion, target in zip(completions, targets, strict=True):
            modality.write(completion, loaded.tokenizer, target)
            print(target)
    else:
        completions = _printed(snapshots, loaded)
    _report(completions, modality)


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _prompt(options: Generate, modality: AppModality[Any]) -> str | Path | None:
    if options.prompt is not None and options.prompt_file is not None:
        raise InputError("--prompt and --prompt-file are both given; give one of them")
    if options.prompt is not None and modality.prompt.suffixes:
        raise InputError(f"--prompt is for text; give {modality.name} as a file, with --prompt-file")
    return options.prompt_file if options.prompt is None else options.prompt


def _targets(options: Generate, modality: AppModality[Any]) -> list[Path]:
    """The files to write, one for each sample; none if samples are printed."""
    out = options.out
    if out is None and modality.files:
        out = Path(f"{options.checkpoint.resolve().name}-seed{options.seed}{modality.files[0]}")
    if out is None:
        return []
    numbers = range(1, options.samples + 1)
    targets = [out] if options.samples == 1 else [out.with_stem(f"{out.stem}-{i}") for i in numbers]
    for target in targets:
        modality.check_target(target)
    return targets


def _printed(snapshots: Iterator[list[Completion]], loaded: LoadedCheckpoint) -> list[Completion]:
    """Print one text as it is written, or several when they are complete. Returns the complete samples."""
    completions: list[Completion] = []
    shown = 0
    for completions in snapshots:
        if len(completions) == 1:
            print(loaded.tokenizer.decode(completions[0].ids[shown:]), end="", flush=True)
            shown = len(completions[0].ids)
    if len(completions) == 1:
        print(flush=True)
    else:
        for i, completion in enumerate(completions, 1):
            print(f"--- {i} ---\n{loaded.tokenizer.decode(completion.ids)}", flush=True)
    return completions


def _with_progress_bar(snapshots: Iterator[list[Completion]], modality: AppModality[Any]) -> list[Completion]:
    """Show a progress bar on standard error if that is a terminal. Returns the complete samples."""
    console = Console(stderr=True)
    columns = (
        TextColumn(modality.name),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[speed]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    completions = next(snapshots)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=completions[0].wanted, speed=0.0)
        for completions in snapshots:
            bar.update(task, completed=completions[0].written, speed=_speed(completions))
    return completions


def _speed(completions: list[Completion]) -> float:
    """Tokens per second of all samples together."""
    return sum(completion.tokens_per_second for completion in completions)


def _report(completions: list[Completion], modality: AppModality[Any]) -> None:
    """Print count, loss and speed on standard error."""
    nats = sum(completion.nats_per_token for completion in completions) / len(completions)
    loss = in_unit(nats, modality.loss_unit)
    count = sum(completion.written for completion in completions)
    print(
        f"{count:,} {modality.tokens}, {loss:.3f} {modality.loss_unit}, {_speed(completions):,.0f} tokens/s",
        file=sys.stderr,
    )
