"""Train variants of the model on the same data, order and seeds, and report how much faster they learn than a baseline.

OUT gets report.json, report.md, plots as PNG and SVG, step_times.json, and every run in runs/. Complete runs are not
trained again, and interrupted ones resume. The last line printed is the report as one JSON object.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import InputError, check_whole, exit_with, run_command
from waveletgpt.common.extras import import_extra
from waveletgpt.common.files import json_text, lock, read_text, remove_leftovers, write_text
from waveletgpt.models.devices import pick_device
from waveletgpt.models.gpt import GPT
from waveletgpt.training.batches import Batches
from waveletgpt.training.command import parse
from waveletgpt.training.comparing.cells import OPTIMIZERS, optimizer, table
from waveletgpt.training.comparing.markdown import markdown
from waveletgpt.training.comparing.progress import ComparisonProgress
from waveletgpt.training.comparing.report import NoReportError, make_report, summarize_failures
from waveletgpt.training.comparing.step_times import step_times
from waveletgpt.training.comparing.study import Study, train_all
from waveletgpt.training.comparing.variants import GRAMMAR, Variant, parse_variants
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import Dataset, check_long_enough, count_windows
from waveletgpt.training.ranks.devices import pick_precision
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.stopping import stop_requested
from waveletgpt.training.runs.tracking import check_trackers

PLAIN = ["--sample-tokens", "0", "--no-tensorboard"]
"""Off in comparisons unless asked for."""
FINAL_SHARE, FORWARD_SHARE = 0.1, 1 / 3
"""The part of a run's time that measuring its final loss may take, and the forward pass's part of a training step."""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Train variants on the same data, order and seeds. --model.mixer, --seed and --resume have no effect: the
    comparison sets them. Samples and TensorBoard are off by default.
    """

    mixers: tuple[str, ...] = ("none", "haar", "learnable")
    """Variants to compare, each NAME or NAME:FIELD=VALUE[,FIELD=VALUE]: the mixer between the blocks, and settings of
    --model that differ from the shared ones, as in none:n_layer=12 or haar:positions=learned."""
    baseline: str | None = None
    """The variant that the others are compared with; `none` by default."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Every variant is trained once with each seed."""
    lrs: tuple[float, ...] = ()
    """Learning rates to try as --optimizer.lr: Muon's, or AdamW's with --optimizer.name adamw. Each variant is trained
    with all of them at --sweep-seed, and with its best one at --seeds. By default --optimizer.lr alone."""
    sweep_seed: int | None = None
    """Seed that chooses among --lrs, and is not counted. By default one more than the highest of --seeds."""
    longer: int = 2
    """The baseline is also trained for so many times as many steps, which tells the speed-up from decayed runs alone; 1
    leaves that out."""
    rates_from: Path | None = None
    """Another comparison's directory. Each variant gets the learning rate that was chosen for it there."""
    final_windows: int = 0
    """Windows of the validation split that the final loss of each run is measured on. 0 is the whole split, or less of
    it where that would take more than a tenth of a run's time. Curves are on --eval-windows."""
    jobs: int = 0
    """Runs at a time, each in its own process. 0 is one per core, with one thread each; on an accelerator, one."""
    timing_rounds: int = 15
    """Steps of every variant that are timed before training, in turns; 0 uses the times of the runs instead."""
    sample_tokens: int | None = 0
    """Length in tokens of the sample that each evaluation writes; none by default."""
    tensorboard: bool = False
    """Log to each run's tensorboard/ if TensorBoard is installed; off by default."""

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
        if self.sweep_seed is not None and (self.sweep_seed in self.seeds or not 0 <= self.sweep_seed < 2**63):
            raise InputError("--sweep-seed must be a whole number from 0 to below 2**63 that is not one of --seeds")
        check_whole("--longer", self.longer, 1)
        if len(set(self.lrs)) < len(self.lrs) or not all(0 < lr < 1 for lr in self.lrs):
            raise InputError("--lrs must be different numbers above 0 and below 1")
        if self.lrs and self.rates_from:
            raise InputError("--lrs tries learning rates and --rates-from uses chosen ones; give one of the two")
        for name in ("final_windows", "jobs", "timing_rounds"):
            check_whole(f"--{name.replace('_', '-')}", getattr(self, name), 0)
        if self.shard:
            raise InputError("--shard splits a model among processes; a comparison trains each model in one process")
        if self.allow_changes:
            raise InputError("--allow-changes cannot be used here: runs whose settings changed do not compare")

    def variants(self) -> dict[str, Variant]:
        """The variants by name."""
        return parse_variants(self.mixers, self.model)

    @property
    def baseline_name(self) -> str:
        """Name of the variant that the others are compared with."""
        return "none" if self.baseline is None else self.baseline


def compare(config: Config, *, command: str = "") -> dict[str, Any]:
    """Train the missing runs, write the report to `config.out`, and return it.

    Args:
        config: the settings.
        command: the command line, for the report.

    Raises:
        InputError: settings, data or existing runs cannot be used. Nothing is trained.
        KeyboardInterrupt: Ctrl-C or SIGTERM. All runs have saved.
        NoReportError: the baseline failed. Other failures are in the report.
    """
    if "WORLD_SIZE" in os.environ:
        raise InputError("compare.py starts processes of its own; run it with python instead of torchrun")
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out} is a file; give --out a directory")
    for module in ("matplotlib", "scipy.stats"):  # before hours of training, not after them
        import_extra(module, "compare")
    console = Console(highlight=False, soft_wrap=True)
    study, jobs, dataset = make_study(config)
    config.out.mkdir(parents=True, exist_ok=True)
    with exclusive(config.out), stop_requested() as stopping:
        models = {name: variant.model(study.config.model) for name, variant in study.variants.items()}
        seconds = {}
        if config.timing_rounds:
            console.print(f"Step times: {config.timing_rounds} rounds of {len(models)} variants.")
            seconds = step_times(study.config, models, config.timing_rounds, stopping)
        with ComparisonProgress(study.n_trials, study.n_tokens, dataset.info.report, console) as progress:
            outcomes = train_all(study, jobs, progress, stopping)
        report = make_report(study, dataset.info, outcomes, seconds, command=command, jobs=jobs)
        write_report(report, config.out)
    return report


def make_study(config: Config) -> tuple[Study, int, Dataset]:
    """The study with device and precision decided, the number of runs at a time, and the data.

    Raises:
        InputError: settings, data or existing runs cannot be used.
    """
    dataset = Dataset.open(config.data)
    check_trackers(config.track)
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
    sweep_seed = max(config.seeds) + 1 if config.sweep_seed is None else config.sweep_seed
    val_tokens, T = dataset.tokens("val"), config.model.block_size
    check_long_enough(val_tokens, T, f"{config.data}: the val split")
    study = Study(
        shared,
        config.variants(),
        config.seeds,
        rates(config),
        config.baseline_name,
        config.longer,
        sweep_seed,
        config.rates_from,
        final_windows(config, count_windows(len(val_tokens), T)),
    )
    Batches(dataset, shared, Processes())
    for name, variant in study.variants.items():
        try:
            GPT(variant.model(shared.model))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    digests = {split: facts["sha256"] for split, facts in dataset.info.splits.items()}
    for trial in study.all_trials():
        trial.check(digests)
    return study, jobs, dataset


def final_windows(config: Config, n_windows: int) -> int:
    """How many of the `n_windows` windows of the validation split final losses are measured on.

    It depends on the settings alone and not on the clock, so that all runs are measured on the same windows.
    """
    trained = config.steps * config.batch_size
    affordable = int(FINAL_SHARE * trained / FORWARD_SHARE)
    return min(n_windows, config.final_windows or max(affordable, config.eval_windows))


def rates(config: Config) -> dict[str, tuple[float, ...]]:
    """The learning rates to try, by variant. Raises InputError if --rates-from has none for this optimizer."""
    if config.rates_from is None:
        return dict.fromkeys(config.variants(), config.lrs or (config.optimizer.lr,))
    path = config.rates_from / "report.json"
    try:
        report = json.loads(read_text(path) or "{}")
        chosen = {name: float(variant["lr"]) for name, variant in report["variants"].items()}
        theirs = optimizer(report)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is no report of a comparison; --rates-from takes another comparison's --out"
        ) from None
    ours = OPTIMIZERS[config.optimizer.name]
    if theirs != ours:
        raise InputError(f"{path} has learning rates of {theirs}, and --optimizer.name chooses {ours}")
    if missing := [name for name in config.variants() if name not in chosen]:
        raise InputError(f"{path} has no learning rate for {', '.join(missing)}; it has {', '.join(chosen)}")
    return {name: (chosen[name],) for name in config.variants()}


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Hold the lock of `out` within the block. Raises InputError if another comparison holds it."""
    with lock(out) as got:
        if got is False:
            raise InputError(f"{out} is being written by another comparison; stop that first")
        remove_leftovers(out)
        yield


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write report.json, the plots and report.md."""
    from waveletgpt.training.comparing.plots import write_plots  # noqa: PLC0415, matplotlib is an extra

    write_text(out / "report.json", json_text(report, indent=2) + "\n")
    write_text(out / "report.md", markdown(report, write_plots(report, out)))


def main() -> None:
    """Run the command."""
    command = shlex.join(["python", *sys.argv])
    config = parse(Config, [*PLAIN, *sys.argv[1:]], f"{__doc__} A variant is {GRAMMAR}.")
    try:
        report = compare(config, command=command)
    except KeyboardInterrupt:
        print(f"The runs are saved. To continue, give the same command again:\n  {shlex.join(sys.orig_argv)}")
        raise
    except NoReportError as error:
        exit_with(f"{error}; the same command tries again", 1)
    Console().print(table(report))
    print(json_text(report), flush=True)
    if report["failed"]:
        exit_with(
            f"{summarize_failures(report['failed'])}; the rest is in the report, and the same command tries again", 1
        )


if __name__ == "__main__":
    run_command(main)
