"""`waveletgpt train`: from files to a trained model in one command, which says before it starts what to expect."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.commands.options import Train
from waveletgpt.app.locating import locate
from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import InputError
from waveletgpt.common.files import json_text, read_text, write_text
from waveletgpt.common.modalities import find_modality
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import read_info
from waveletgpt.models.devices import pick_device
from waveletgpt.pretrained import load
from waveletgpt.tokenizers.audio.audio_file import read_audio, write_wav
from waveletgpt.training import prepare_audio, prepare_music, prepare_text
from waveletgpt.training.batches import Batches
from waveletgpt.training.comparing.step_times import TimedModel
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.data import Dataset, DatasetInfo
from waveletgpt.training.evaluate import Config as EvaluateConfig
from waveletgpt.training.evaluate import open_both, split_loss
from waveletgpt.training.preparing.command import mention_skipped
from waveletgpt.training.ranks.devices import compute_settings, pick_precision, to_device
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.trainer import train

EVALUATIONS, STEPS_BETWEEN = 10, 20
"""Evaluations in a run, with at least so many steps between two."""
SHARE = 0.9
"""Of the time that goes into training steps; the rest is for evaluations and samples."""
TIMING = 5.0
"""Seconds after which no more steps are timed."""
PIECES = 20
"""Into which one or two recordings are cut, since data are split by file."""
SPLITS = 3
SMALL = 1 << 22
"""Bytes that are encoded without further processes."""
MANY_TIMES = 20
"""Readings of the data from which on a model begins to know them by heart."""
REFERENCES = {
    "text": ("text-haar", "text-learnable"),
    "audio": ("audio-learnable",),
    "music": ("music-learnable", "music-large-baseline"),
}
"""Shipped checkpoints whose curves tell what to expect, by number of tokens."""


@dataclass(frozen=True)
class Plan:
    """What is kept in OUT/train.json, so that the same command can go on."""

    asked: dict[str, Any]
    """The options of the command."""
    steps: int = 0
    """Number of training steps; 0 before it is known."""
    threads: int = 0
    """Of the CPU, the number that was fastest."""


def run(options: Train) -> None:
    """Run the command. Raises InputError before anything is written."""
    console = Console(highlight=False, soft_wrap=True)
    is_new = not options.out.exists()
    plan = open_plan(options)
    try:
        data = prepared(options, options.out / "data")
        config = settings(options, data)
    except InputError:
        if is_new:
            shutil.rmtree(options.out)
        raise
    if not plan.steps:
        with console.status("timing a few steps on this machine ..."):
            threads, seconds = fastest(config)
        plan = replace(plan, steps=max(STEPS_BETWEEN, int(SHARE * options.minutes * 60 / seconds)), threads=threads)
        write_text(options.out / "train.json", json_text(asdict(plan), indent=2) + "\n")
        for line in outlook(config, data.info, plan.steps, seconds):
            console.print(line, markup=False)
    config = replace(
        config,
        steps=plan.steps,
        threads=plan.threads,
        eval_every=max(STEPS_BETWEEN, plan.steps // EVALUATIONS),
        optimizer=replace(config.optimizer, warmup_steps=min(config.optimizer.warmup_steps, plan.steps // 10)),
        resume=(options.out / "state.safetensors").is_file(),
    )
    try:
        train(config, modality=options.kind)
    except Stopped:
        console.print("Saved. The same command goes on.")
        raise
    for line in outcome(options, config):
        console.print(line, markup=False)


def open_plan(options: Train) -> Plan:
    """The plan of the run in `options.out`, or a new one.

    Raises InputError if that run was begun with other options, or if files are missing.
    """
    asked: dict[str, Any] = json.loads(json_text({name: _plain(value) for name, value in vars(options).items()}))
    path = options.out / "train.json"
    try:
        found = Plan(**json.loads(read_text(path) or "null") or {"asked": asked})
    except (ValueError, TypeError):
        raise InputError(f"{path} is damaged; give another --out") from None
    if changed := [name for name, value in asked.items() if found.asked.get(name) != value]:
        raise InputError(f"{options.out} was begun with other {', '.join(changed)}; give the same, or another --out")
    if options.out.exists() and not path.exists() and any(options.out.iterdir()):
        raise InputError(f"{options.out} holds something else; give a new or empty --out")
    for file in options.files:
        if not file.exists():
            raise InputError(f"{file} does not exist; give files of {options.kind}")
    write_text(path, json_text(asdict(found), indent=2) + "\n")
    return found


def _plain(value: Any) -> Any:
    return [f"{one}" for one in value] if isinstance(value, tuple) else f"{value}"


def prepared(options: Train, out: Path) -> Dataset:
    """The files as ids with splits, prepared now or before. Raises InputError if they cannot be used."""
    if not (out / "dataset.json").is_file():
        name = options.name or ", ".join(file.name for file in options.files[:3]) + " ..." * (len(options.files) > 3)
        size = sum(file.stat().st_size for file in options.files if file.is_file())
        workers = 0 if 0 < size < SMALL else None  # to start processes would take longer than to encode
        common = {
            "source": f"{source(options)}",
            "out": out,
            "name": name,
            "licence": options.licence,
            "workers": workers,
        }
        mention_skipped(_prepare(options, common))
    return Dataset.open(out, modality=options.kind)


def _prepare(options: Train, common: dict[str, Any]) -> DatasetInfo:
    start = options.start_from and locate(options.start_from)
    if options.kind == "text":
        known: dict[str, Any] = {"tokenizer": start, "replacement": " "} if start else {}
        return prepare_text.prepare(prepare_text.Config(**common, **known))
    if options.kind == "audio":
        rate = read_info(start).tokenizer["sample_rate"] if start else options.sample_rate
        return prepare_audio.prepare(prepare_audio.Config(**common, sample_rate=rate))
    return prepare_music.prepare(prepare_music.Config(**common))


def source(options: Train) -> Path:
    """What to prepare: the only file, folder or archive, or a folder with links to several files.

    One or two recordings are cut into pieces, because each split needs one.
    """
    files, folder = options.files, options.out / "files"
    few = (
        options.kind == "audio" and len(files) < SPLITS and all(file.suffix in prepare_audio.SUFFIXES for file in files)
    )
    if len(files) == 1 and not few:
        return files[0]
    if not all(file.is_file() for file in files):
        raise InputError("give several files, or one folder or archive, not folders among files")
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        if few:
            waveform = read_audio(file, options.sample_rate, loudness_dbfs=None)
            for i, piece in enumerate(waveform.tensor_split(PIECES)):
                write_wav(folder / f"{number}-{file.stem}-{i:02}.wav", piece, options.sample_rate)
        elif not (link := folder / f"{number:04}-{file.name}").is_symlink():
            link.symlink_to(file.resolve())
    return folder


def settings(options: Train, data: Dataset) -> TrainConfig:
    """The settings of the training, but for its length."""
    device = pick_device("auto")
    preset = options.preset if options.preset != "auto" else "cpu" if device.type == "cpu" else "paper"
    config = PRESETS[preset](data=data.directory, out=options.out, seed=options.seed, augment=options.kind != "text")
    if options.preset == "auto" and preset == "cpu":  # many short windows teach faster than few long ones
        model = replace(config.model, block_size=256, n_levels=8, n_head=4)
        config = replace(config, model=model, batch_size=16)
    config = replace(config, model=replace(config.model, mixer=options.mixer))
    if options.start_from:
        start = locate(options.start_from)
        info = read_info(start)
        optimizer = replace(config.optimizer, lr=config.optimizer.lr / 2)
        config = replace(config, model=info.model, optimizer=optimizer, start_from=start, seed=info.seed + 1)
    model = replace(config.model, vocab_size=data.info.vocab_size)
    check_enough(data, model.block_size)
    return replace(config, model=model, device=device.type, precision=pick_precision("auto", device))


def check_enough(data: Dataset, block_size: int) -> None:
    """Raise InputError unless each split holds one window of `block_size` tokens."""
    counts = [split["tokens"] for split in data.info.splits.values()]
    if min(counts) <= block_size:
        needed = sum(counts) * (block_size + 1) / max(1, min(counts))
        given = f"{sum(counts):,} {find_modality(data.info.modality).tokens}"
        raise InputError(
            f"your files have {given}, too few to hold some back for validation; give {needed:,.0f} or more"
        )


def fastest(config: TrainConfig) -> tuple[int, float]:
    """The number of threads (0 on a GPU) with which a step is shortest, and its seconds.

    Beside other work, one thread is often faster than several, which wait for one another.
    """
    tried = [0] if config.device != "cpu" else sorted({1, available_cores()})
    timed = {threads: step_seconds(replace(config, threads=threads)) for threads in tried}
    return min(timed.items(), key=lambda item: item[1])


def step_seconds(config: TrainConfig) -> float:
    """Seconds of a training step: the median of three after a first one, or of fewer within `TIMING` seconds."""
    device = torch.device(config.device)
    batches, seconds = Batches(Dataset.open(config.data), config, Processes()), list[float]()
    with compute_settings(config.threads):
        timed = TimedModel(config.model, config, device)
        while len(seconds) < 4 and sum(seconds) < TIMING:
            parts = [(to_device(x, device), to_device(y, device)) for x, y in batches.parts(len(seconds))]
            seconds.append(timed.step(parts))
    return median(seconds[1:] or seconds)


def outlook(config: TrainConfig, info: DatasetInfo, steps: int, seconds: float) -> list[str]:
    """What people want to know before they wait."""
    record, each = find_modality(info.modality), config.batch_size * config.model.block_size
    tokens, data = steps * each, info.splits["train"]["tokens"]
    end = datetime.now().astimezone() + timedelta(seconds=steps * seconds / SHARE)
    lines = [
        f"Data: {data:,} {record.tokens} to train on, and {info.splits['val']['tokens']:,} to validate with.",
        f"Model: {config.model.n_layer} blocks of {config.model.n_embd} coordinates, {config.model.mixer}; "
        f"{each / seconds:,.0f} {record.tokens} a second on this machine.",
        f"Training: {steps:,} steps, {tokens:,} {record.tokens}, until about {end:%H:%M}.",
    ]
    if tokens > MANY_TIMES * data:
        lines.append(
            f"Each of your {record.tokens} is read {tokens / data:,.0f} times, so the model will know some by heart; "
            "more files, or fewer minutes, help."
        )
    if config.start_from:
        return [
            *lines,
            f"Expect: it begins with what {config.start_from.name} knows, and takes on the ways of your files.",
        ]
    return [*lines, expectation(info.modality, tokens)]


def expectation(kind: str, tokens: int) -> str:
    """What a shipped checkpoint was like after as many tokens, by its curve."""
    curves = {name: _curve(name) for name in REFERENCES[kind]}
    name = next((name for name, curve in curves.items() if curve[-1][0] >= tokens), [*curves][-1])
    record, curve = find_modality(kind), curves[name]
    at, loss = next((point for point in curve if point[0] >= tokens), curve[-1])
    unit = record.loss_unit
    return f"Expect: {told(kind, tokens)} {name} was at {in_unit(loss, unit):.2f} {unit} after {at:,} {record.tokens}."


def _curve(name: str) -> list[tuple[int, float]]:
    lines = (read_text(SHIPPED / name / "metrics.jsonl") or "").splitlines()
    return [(row["tokens"], row["val_loss"]) for row in map(json.loads, lines)]


WORDS = {
    "text": (
        (0, "syllables, and few words that exist."),
        (1e6, "words of which 7 or 8 in 10 exist, no sense."),
        (8e6, "words that exist (94 % in text-haar), little sense."),
        (8e7, "nearly every word exists (99 % in text-learnable), sentences hold for a line."),
    ),
    "audio": (
        (0, "noise, and at best a tone that wanders."),
        (4e6, "notes that hold, if the recordings are as clean and sparse as a single piano."),
        (2.6e7, "clean notes, if the recordings are as sparse as a single piano; noise if they are not."),
    ),
    "music": (
        (0, "notes of the keys that your files use, without hands."),
        (1e7, "chords and runs for two hands, no form."),
    ),
}
"""What results are like from a number of tokens on. docs/training.md has the measurements."""


def told(kind: str, tokens: int) -> str:
    """What results are like after a number of tokens, in words."""
    return next((words for least, words in reversed(WORDS[kind]) if tokens >= least), "")


def outcome(options: Train, config: TrainConfig) -> list[str]:
    """The loss on the test split, a sample, and how to go on."""
    evaluating = EvaluateConfig(
        checkpoint=options.out / "best", data=config.data, split="test", windows=config.eval_windows
    )
    loss, _ = split_loss(evaluating, *open_both(evaluating))
    unit = find_modality(options.kind).loss_unit
    sample = load(options.out).generate()
    path = sample.save(options.out / f"sample{sample.modality.files[0]}")
    text = f"\n{sample}\n" if sample.modality.is_printed else ""
    return [
        f"Test loss: {in_unit(loss, unit):.3f} {unit}. A sample: {path}{text}",
        f"More of it:  waveletgpt generate {options.kind} --checkpoint {options.out}",
        f"On the page: waveletgpt app --checkpoints {options.out} --runs {options.out}",
    ]
