"""`waveletgpt generate`: one checkpoint, any number of samples, to the screen or to files."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from waveletgpt.app.checkpoints import SHIPPED, Library, load
from waveletgpt.app.commands.options import Generate
from waveletgpt.app.locating import locate
from waveletgpt.app.modalities.base import AppModality, load_modality
from waveletgpt.app.recipe import MOST_VARIATIONS, find_recipe, to_word
from waveletgpt.app.results import Result, Results, grow, new_result, remade
from waveletgpt.app.streaming import Completion, make_ready
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.common.units import in_unit
from waveletgpt.models.devices import pick_device
from waveletgpt.models.sampling import Sampling

REFRESH = 0.1  # seconds


def run(options: Generate) -> None:
    """Run the command. Raises InputError before anything is written."""
    torch.set_num_threads(1)  # a token is too little work to split: more threads are slower
    results, modality = _remade(options, options.recipe) if options.recipe else _asked(options)
    targets = _targets(options, modality, results)
    make_ready()  # before the clock for tokens/s starts
    snapshots = grow(results, every=REFRESH)
    if targets:
        whole = _all(_with_progress_bar(snapshots, modality))
        for one, target in zip(whole, targets, strict=True):
            modality.write(one.completion, one.loaded.tokenizer, target, to_word([one.recipe]))
            print(target)
    else:
        whole = _all(_printed(snapshots))
    _report([one.completion for one in whole], modality)


def _asked(options: Generate) -> tuple[list[Result | None], AppModality[Any]]:
    """What the options ask for, of which nothing is written yet."""
    if options.kind is None or options.checkpoint is None:
        raise InputError(f"give what to generate ({', '.join(MODALITIES)}) and a --checkpoint, or a --recipe")
    modality = load_modality(options.kind)
    if options.prompt is not None and options.prompt_file is not None:
        raise InputError("--prompt and --prompt-file are both given; give one of them")
    if options.prompt == "":
        raise InputError("--prompt is empty; give text, or leave it out to begin a new one")
    if options.prompt is not None and modality.prompt.suffixes:
        raise InputError(f"--prompt is for text; give {modality.name} as a file, with --prompt-file")
    if not 1 <= options.samples <= MOST_VARIATIONS:
        raise InputError(f"--samples is {options.samples}; it must be from 1 to {MOST_VARIATIONS}")
    given = {name: getattr(options, name) for name in ("temperature", "top_p", "min_p")}
    directory = locate(options.checkpoint)
    loaded = load(directory, modality.name, modality.tokenizer_kind, pick_device(options.device))
    loaded = replace(loaded, name=options.checkpoint.resolve().name)
    own: dict[str, Any] = modality.sampling(loaded.info)
    sampling = Sampling(
        **{name: own[name] if value is None else value for name, value in given.items()},
        top_k=options.top_k,
        repetition_penalty=options.repetition_penalty,
        seed=options.seed,
    )
    source = options.prompt_file if options.prompt is None else options.prompt
    prompt = modality.kept_prompt(source, _or(options.keep, modality.keep.default), loaded.tokenizer)
    if prompt and prompt.note:
        print(f"note: {prompt.note}", file=sys.stderr)
    length = modality.checked_count("length", _or(options.length, modality.length.default), loaded.tokenizer)
    samples = range(options.samples)
    return [new_result(modality, loaded, prompt, length, sampling, samples, options.mute)], modality


def _remade(options: Generate, path: Path) -> tuple[list[Result | None], AppModality[Any]]:
    """The results of a recipe, of which nothing is written yet."""
    recipes = [one for one in find_recipe(path) if one]
    modality = load_modality(options.kind or recipes[0].modality)
    entries = Library(options.checkpoint or SHIPPED, modality.name, pick_device(options.device)).entries()
    return [remade(modality, entries, one) for one in recipes], modality


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _all(results: list[Result | None]) -> list[Result]:
    """Every variation of every result, as a result of its own."""
    return [replace(one, chosen=i) for one in results if one for i in range(len(one.completions))]


def _targets(options: Generate, modality: AppModality[Any], results: list[Result | None]) -> list[Path]:
    """The files to write, one for each sample; none if samples are printed."""
    out, samples = options.out, sum(len(one.completions) for one in results if one)
    if out is None and not modality.is_printed:
        first = next(one for one in results if one)
        out = Path(f"{first.name}-seed{first.plan.sampling.seed}{modality.files[0]}")
    if out is None:
        return []
    targets = [out] if samples == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, samples + 1)]
    for target in targets:
        modality.check_target(target)
    return targets


def _printed(snapshots: Iterator[Results]) -> Results:
    """Print one text as it is written, or several when they are complete. Returns the complete results."""
    results: Results = []
    shown = 0
    for results in snapshots:
        whole = _all(results)
        if len(whole) == 1:
            ids = whole[0].completion.ids
            print(whole[0].loaded.tokenizer.decode(ids[shown:]), end="", flush=True)
            shown = len(ids)
    whole = _all(results)
    if len(whole) == 1:
        print(flush=True)
        return results
    for i, one in enumerate(whole, 1):
        print(f"--- {i} ---\n{one.loaded.tokenizer.decode(one.completion.ids)}", flush=True)
    return results


def _with_progress_bar(snapshots: Iterator[Results], modality: AppModality[Any]) -> Results:
    """Show a progress bar on standard error if that is a terminal. Returns the complete results."""
    console = Console(stderr=True)
    columns = (
        TextColumn(modality.name),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[speed]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    results = next(snapshots)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=_all(results)[0].completion.wanted, speed=0.0)
        for results in snapshots:
            completions = [one.completion for one in _all(results)]
            bar.update(task, completed=completions[0].written, speed=_speed(completions))
    return results


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
