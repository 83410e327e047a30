"""Train variants of the model on the same data, order and seeds, and tell how much sooner each learns than a baseline.

OUT gets report.json, report.md, plots as PNG and SVG, step_times.json, and every run in runs/. Runs that are there are
not trained again, and one that was interrupted goes on. The last line printed is the report as one JSON object.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import InputError, exit_with, run_command
from waveletgpt.common.files import lock, read_text, remove_leftovers, write_text
from waveletgpt.models.gpt import GPT
from waveletgpt.training.batches import Batches
from waveletgpt.training.command import parse
from waveletgpt.training.comparing.cells import table
from waveletgpt.training.comparing.markdown import markdown
from waveletgpt.training.comparing.plots import remove_plots, write_plots
from waveletgpt.training.comparing.progress import ComparisonProgress
from waveletgpt.training.comparing.report import NoReportError, make_report, told
from waveletgpt.training.comparing.step_times import step_times
from waveletgpt.training.comparing.study import Study, train_all
from waveletgpt.training.comparing.variants import GRAMMAR, Variant, parse_variants
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough
from waveletgpt.training.ranks.devices import pick_device, pick_precision
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.stopping import stop_requested

PLAIN = ["--sample-tokens", "0", "--no-tensorboard"]
"""What a comparison does without unless it is asked for."""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Train variants on the same data, order and seeds. --model.mixer, --seed and --resume are decided here;
    samples and curves for TensorBoard are off unless asked for.
    """

    mixers: tuple[str, ...] = ("none", "haar", "learnable")
    """Variants to compare, each NAME or NAME:FIELD=VALUE[,FIELD=VALUE]: a layer between the blocks, and fields of the
    model (those of --model) that differ, as in none:n_layer=12 or haar:positions=learned."""
    baseline: str | None = None
    """The one of --mixers that the others are compared with; plain `none` unless given."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every variant a seed."""
    lrs: tuple[float, ...] = ()
    """Learning rates; each variant is trained with all of them at the first seed, and goes on with its best. Unless
    given, --optimizer.lr."""
    rates_from: Path | None = None
    """Another comparison's directory: each variant gets the learning rate that was chosen for it there."""
    jobs: int = 0
    """Runs at a time, each a process; 0 is one a core, with one thread each, and a single one on an accelerator."""
    timing_rounds: int = 15
    """Steps of every variant that are timed in turn before training; 0 takes times from the runs instead."""
    sample_tokens: int | None = 0
    """Tokens of the sample that each evaluation writes; none unless given."""
    tensorboard: bool = False
    """Write curves to each run's tensorboard/, if TensorBoard is installed; not unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        variants = self.variants()
        if self.baseline is None and "none" not in variants:
            raise InputError("--mixers must hold none, the baseline to compare with; or name another with --baseline")
        if self.baseline_name not in variants:
            raise InputError(f"--baseline is {self.baseline}; it must be one of --mixers: {', '.join(variants)}")
        if (
            not self.seeds
            or len(set(self.seeds)) < len(self.seeds)
            or not 0 <= min(self.seeds) <= max(self.seeds) < 2**63
        ):
            raise InputError("--seeds must be different whole numbers from 0 to below 2**63, at least one")
        if len(set(self.lrs)) < len(self.lrs) or not all(0 < lr < 1 for lr in self.lrs):
            raise InputError("--lrs must be different numbers above 0 and below 1")
        if self.lrs and self.rates_from:
            raise InputError("--lrs are rates to choose from, --rates-from has them chosen; give one of the two")
        for name in ("jobs", "timing_rounds"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be 0 or more")
        if self.shard:
            raise InputError("--shard splits a model among processes; a comparison trains each in one process")
        if self.allow_changes:
            raise InputError("--allow-changes has no place here: runs whose settings changed do not compare")

    def variants(self) -> dict[str, Variant]:
        """What is compared, by name."""
        return parse_variants(self.mixers, self.model)

    @property
    def baseline_name(self) -> str:
        """The variant that the others are compared with."""
        return "none" if self.baseline is None else self.baseline


def compare(config: Config, *, command: str = "") -> dict[str, Any]:
    """Train what is missing, write the report to `config.out`, and return it; `command` is told in it.

    Raises InputError for settings, data or existing runs that cannot be used, before anything is trained;
    KeyboardInterrupt, when all runs have saved, if Ctrl-C or SIGTERM asked to stop; NoReportError if the baseline
    failed. What else failed is in the report.
    """
    if "WORLD_SIZE" in os.environ:
        raise InputError("compare.py starts processes of its own; run it with python instead of torchrun")
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out} is a file; give --out a directory")
    console = Console(highlight=False, soft_wrap=True)
    study, jobs, dataset = prepared(config)
    config.out.mkdir(parents=True, exist_ok=True)
    with alone(config.out), stop_requested() as stopping:
        models = {name: variant.model(study.config.model) for name, variant in study.variants.items()}
        seconds = {}
        if config.timing_rounds:
            console.print(f"Step times: {config.timing_rounds} rounds of {len(models)} variants.")
            seconds = step_times(study.config, models, config.timing_rounds, stopping)
        with ComparisonProgress(study.most, dataset.info.report, console) as progress:
            outcomes = train_all(study, jobs, progress, stopping)
        report = make_report(study, config.baseline_name, dataset.info, outcomes, seconds, command=command, jobs=jobs)
        write_report(report, config.out, console)
    return report


def prepared(config: Config) -> tuple[Study, int, Dataset]:
    """The study with what the runs share resolved, how many run at a time, and the data; InputError if one is unfit."""
    dataset = Dataset.open(config.data)
    device = pick_device(config.device)
    cores = available_cores()
    jobs = config.jobs or (max(1, cores // max(1, config.threads)) if device.type == "cpu" else 1)
    threads = config.threads or (max(1, cores // jobs) if device.type == "cpu" else 0)
    shared = TrainConfig(**{f.name: getattr(config, f.name) for f in fields(TrainConfig)})
    shared = replace(
        shared,
        resume=False,
        device=str(device),
        threads=threads,
        precision=pick_precision(config.precision, device),
        model=replace(config.model, mixer="none", vocab_size=dataset.info.vocab_size),
    )
    study = Study(shared, config.variants(), config.seeds, rates(config), config.rates_from)
    Batches(dataset, shared, Processes())
    check_long_enough(dataset.tokens("val"), config.model.block_size, f"{config.data}: the val split")
    for name, variant in study.variants.items():
        try:
            GPT(variant.model(shared.model))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    digests = {split: facts["sha256"] for split, facts in dataset.info.splits.items()}
    for trial in study.possible():
        trial.check(digests)
    return study, jobs, dataset


def rates(config: Config) -> dict[str, tuple[float, ...]]:
    """The learning rates to choose from, by variant; InputError if they are another comparison's that has none."""
    if config.rates_from is None:
        return dict.fromkeys(config.variants(), config.lrs or (config.optimizer.lr,))
    path = config.rates_from / "report.json"
    try:
        report = json.loads(read_text(path) or "{}")
        chosen = {name: float(variant["lr"]) for name, variant in report["variants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is no report of a comparison; --rates-from takes another comparison's --out"
        ) from None
    if missing := [name for name in config.variants() if name not in chosen]:
        raise InputError(f"{path} has no learning rate for {', '.join(missing)}; it has {', '.join(chosen)}")
    return {name: (chosen[name],) for name in config.variants()}


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """InputError if another comparison is at work in `out`; within the block this one is."""
    with lock(out) as got:
        if got is False:
            raise InputError(f"{out} is being written by another comparison; stop that first")
        remove_leftovers(out)
        yield


def write_report(report: dict[str, Any], out: Path, console: Console) -> None:
    """Write report.json, the plots and report.md; what is not installed is left out, with one line that says so."""
    write_text(out / "report.json", json.dumps(report, indent=2) + "\n")
    missing = [name for name in ("scipy", "matplotlib") if find_spec(name) is None]
    lacks = {"scipy": "p-values and intervals of differences", "matplotlib": "plots"}
    notes = []
    if missing:
        what = " and ".join(lacks[name] for name in missing)
        notes.append(f"Without {what}: pip install {' '.join(missing)}")
        console.print(notes[0])
    remove_plots(out)
    plots = write_plots(report, out) if "matplotlib" not in missing else []
    write_text(out / "report.md", markdown(report, plots, notes))


def main() -> None:
    """Read the command line, compare and print."""
    command = shlex.join(["python", *sys.argv])
    config = parse(Config, [*PLAIN, *sys.argv[1:]], f"{__doc__} A variant is {GRAMMAR}.")
    try:
        report = compare(config, command=command)
    except KeyboardInterrupt:
        print(f"What was done is saved. To go on, give the same command again:\n  {shlex.join(sys.orig_argv)}")
        raise
    except NoReportError as error:
        exit_with(f"{error}; the same command tries again", 1)
    Console().print(table(report))
    print(json.dumps(report), flush=True)
    if report["failed"]:
        exit_with(f"{told(report['failed'])}; the rest is in the report, and the same command tries again", 1)


if __name__ == "__main__":
    run_command(main)
