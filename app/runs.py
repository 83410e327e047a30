"""The runs in a directory as training writes them: settings, evaluations, samples, and what two of them tell apart.

A run is a folder with a run.json. Files are read again only when they have changed. A damaged one makes a problem, one
line for people, and never an error.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from waveletgpt.app.checkpoints import DEPTH
from waveletgpt.common.curves import Curve, speedup
from waveletgpt.common.errors import InputError
from waveletgpt.common.files import read_json, read_text
from waveletgpt.common.modalities import find_modality
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import read_info

AXES = ("step", "tokens", "seconds")
"""What an evaluation is dated by, as in metrics.jsonl."""
LOSSES = ("val_loss", "train_loss")
FAIR = {
    "model.block_size": "context",
    "model.n_layer": "blocks",
    "model.n_embd": "coordinates",
    "model.n_head": "heads",
    "model.n_hidden": "hidden units",
    "model.positions": "positions",
    "model.dropout": "dropout",
    "optimizer.name": "optimizer",
    "batch_size": "batch size",
    "steps": "steps",
    "seed": "seed",
    "start_from": "first checkpoint",
    "augment": "augmentation",
    "precision": "precision",
    "eval_windows": "validation windows",
}
"""Settings that must be equal for a fair comparison of two layers, with their names. Each layer has its own best
learning rate."""
INCOMPARABLE = {"data", "context"}
"""Where these differ, losses do not compare at all."""
SAMPLE = re.compile(r"step-(\d+)\.\w+")
CARD_COMMAND = re.compile(r"```sh\n(python training/.*?)\n```", re.DOTALL)
PATIENCE = 60.0
"""Seconds without a write after which a run has stopped, unless its evaluations are further apart."""
FIRST = 1800.0
"""That time before the first evaluation, when nothing is known."""

Row = dict[str, float]
"""An evaluation: step, tokens, seconds, train_loss, val_loss (nats per token)."""


@dataclass(frozen=True)
class Run:
    """A run as it is now."""

    name: str
    """Path relative to the directory that was searched."""
    path: Path
    stamp: tuple[int, ...]
    """Changes with its files."""
    modality: str = ""
    """Kind of data; empty if it is not known."""
    mixer: str = ""
    steps: int = 0
    """How many it shall have."""
    sampled: bool = True
    """Whether it shall write samples."""
    command: str = ""
    """What trains it anew; empty if it is not known."""
    facts: dict[str, str] = field(default_factory=dict)
    """What must be equal for a fair comparison."""
    rows: tuple[Row, ...] = ()
    diverged: bool = False
    problem: str = ""
    """What could not be read, in one line."""

    @property
    def begun(self) -> float:
        """Time of its settings, in seconds since 1970."""
        return self.stamp[0] / 1e9

    @property
    def unit(self) -> str:
        """Unit of its losses."""
        return find_modality(self.modality).loss_unit

    @property
    def step(self) -> int:
        """Of the last evaluation; 0 before the first."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def tokens_per_second(self) -> float:
        """Speed of its training steps; 0 if not known."""
        last = self.rows[-1] if self.rows else {"tokens": 0.0, "seconds": 0.0}
        return last["tokens"] / last["seconds"] if last["seconds"] else 0.0

    def losses(self, name: str = "val_loss") -> list[float]:
        """One of `LOSSES` at each evaluation, in `unit`."""
        return [in_unit(row[name], self.unit) for row in self.rows]

    def curve(self, axis: str = "step") -> Curve:
        """Its validation losses over one of `AXES`. It must have an evaluation."""
        return Curve(tuple(max(row[axis], 1e-9) for row in self.rows), tuple(self.losses()))

    def state(self, now: float) -> str:
        """diverged, finished, running or stopped. The last two are told apart by the time of the last write."""
        if self.diverged:
            return "diverged"
        if self.step and self.step >= self.steps:
            return "finished"
        seconds = [0.0, *(row["seconds"] for row in self.rows)]
        patience = max(PATIENCE, 3 * (seconds[-1] - seconds[-2])) if self.rows else FIRST
        return "running" if now - max(self.stamp) / 1e9 <= patience else "stopped"

    def samples(self) -> dict[int, Path]:
        """Its samples by step."""
        try:
            paths = sorted((self.path / "samples").iterdir())
        except OSError:
            return {}
        return {int(found[1]): path for path in paths if (found := SAMPLE.fullmatch(path.name))}


def find_runs(directory: Path) -> list[Run]:
    """The runs in `directory` and up to `DEPTH` folders below it, the newest first. Raises InputError without it."""
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; give one that holds runs")
    home = directory.resolve().name
    found = [
        _read(path, path.relative_to(directory).as_posix() if path != directory else home, _stamp(path))
        for path in _folders(directory, DEPTH)
    ]
    return sorted(found, key=lambda run: (-run.begun, run.name))


def _folders(directory: Path, depth: int) -> Iterator[Path]:
    """The folders of runs, by name. Nothing in a run's own folder, and no unfinished one, is searched."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == "run.json" for entry in entries):
        yield directory
    elif depth:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                yield from _folders(Path(entry.path), depth - 1)


def _stamp(path: Path) -> tuple[int, ...]:
    """When its files were written, in nanoseconds, that of run.json first; 0 for one that is not there."""
    times = []
    for name in ("run.json", "metrics.jsonl", "diverged.json", "state.safetensors", "last/config.json"):
        try:
            times.append((path / name).stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


@lru_cache(maxsize=4096)
def _read(path: Path, name: str, stamp: tuple[int, ...]) -> Run:
    rows, problem = _rows(path / "metrics.jsonl")
    try:
        settings = read_json(path / "run.json")
        modality = settings.get("modality") or _modality_of_checkpoint(path)
        digests, model, optimizer = (settings[key] for key in ("data_digests", "model", "optimizer"))
        flat = {"start_from": None, **settings, **_dotted("model", model), **_dotted("optimizer", optimizer)}
        facts = {label: _shown(flat[key]) for key, label in FAIR.items() if key in flat}
        return Run(
            name,
            path,
            stamp,
            find_modality(modality).name,
            f"{model['mixer']}",
            int(settings["steps"]),
            settings.get("sample_tokens") != 0,
            f"{settings.get('command') or _command_of_card(path)}",
            {"data": f"{digests['train']} {digests['val']}", **facts},
            rows,
            bool(stamp[2]),
            problem,
        )
    except InputError as error:
        return Run(name, path, stamp, problem=f"{error}")
    except (KeyError, TypeError, ValueError, AttributeError):
        return Run(name, path, stamp, problem=f"{path / 'run.json'} is damaged: it has not the settings of a run")


def _dotted(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in settings.items()}


def _modality_of_checkpoint(path: Path) -> str:
    """The kind of data of an older run, whose run.json does not hold it."""
    if not (path / "last").is_dir():
        raise InputError(f"{path} does not say of which data it is before its first evaluation")
    return read_info(path / "last").modality


def _shown(value: Any) -> str:
    """A setting for people."""
    if isinstance(value, bool) or value is None:
        return "yes" if value else "none"
    return f"{value:,}" if isinstance(value, int) else f"{value}"


def _command_of_card(path: Path) -> str:
    """The command in the card of an older run's last checkpoint; empty if there is none."""
    found = CARD_COMMAND.findall(read_text(path / "last" / "README.md") or "")
    return found[-1] if found else ""


def _rows(path: Path) -> tuple[tuple[Row, ...], str]:
    """The evaluations in metrics.jsonl, up to a damaged line, and the problem. A half line at the end is no problem."""
    rows: list[Row] = []
    text = read_text(path)
    if text is None:
        return (), f"{path} cannot be read as text" if path.exists() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        row = _row(line)
        if row and (not rows or row["step"] > rows[-1]["step"]):
            rows.append(row)
        elif line.endswith("\n"):
            return tuple(rows), f"line {number} of {path} is damaged; only what is before it is shown"
    return tuple(rows), ""


def _row(line: str) -> Row | None:
    """The evaluation in a line; None if there is none."""
    try:
        found = json.loads(line)
        row = {key: float(found[key]) for key in (*AXES, *LOSSES)}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return row if all(map(math.isfinite, row.values())) else None


def unfair(a: Run, b: Run) -> dict[str, str]:
    """What makes a comparison of two runs unfair: names of settings, with the values of both."""
    both = {name: (value, b.facts[name]) for name, value in a.facts.items() if name in b.facts}
    return {name: f"{one} and {other}" for name, (one, other) in both.items() if one != other}


def baseline_of(run: Run, runs: Sequence[Run]) -> Run | None:
    """The baseline that a run compares best with: of the same data, with the fewest other differences, then with the
    lowest last loss. None for a baseline, and if there is none.
    """
    found = [
        (len(differ), one.losses()[-1], one.name, one)
        for one in runs
        if one.mixer == "none" and one.rows and not INCOMPARABLE & (differ := unfair(run, one)).keys()
    ]
    return min(found)[-1] if found and run.mixer != "none" and run.rows else None


def speedup_over(run: Run, baseline: Run, axis: str = "step") -> float:
    """How many times sooner a run reaches the baseline's last loss, or below 1 the baseline that of the run."""
    return speedup(run.curve(axis), baseline.curve(axis))[0]


def default_pair(runs: Sequence[Run]) -> tuple[Run, Run] | tuple[None, None]:
    """The runs to show first: the newest that has a baseline, after that baseline; else the two newest, or the only one
    twice. None if there are none.
    """
    for run in runs:
        if baseline := baseline_of(run, runs):
            return baseline, run
    return (runs[min(1, len(runs) - 1)], runs[0]) if runs else (None, None)
