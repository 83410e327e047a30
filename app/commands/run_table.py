"""`waveletgpt runs`: the training runs in a directory, finished or not, and how much sooner each learns."""

import time
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from waveletgpt.app.commands.options import Runs
from waveletgpt.app.runs import Run, baseline_of, find_runs, speedup_over, unfair
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES

SOONER = (
    "sooner: the baseline's steps to its last loss over the run's steps to that loss; below 1 the run learns slower."
)


def run(options: Runs) -> None:
    """Run the command. Raises InputError if there is no such directory, or no run in it."""
    runs = find_runs(options.directory)
    if not runs:
        raise InputError(f"{options.directory} holds no runs; give the folder of one, or one that holds such folders")
    console = Console(highlight=False, soft_wrap=True)
    for name in MODALITIES:
        if mine := [one for one in runs if one.modality == name]:
            console.print(table(mine, time.time()))
            for line in notes(mine):
                console.print(line, markup=False)
    for one in runs:
        if one.problem:
            console.print(f"{one.name}: {one.problem}", markup=False)


def table(runs: Sequence[Run], now: float) -> Table:
    """The runs of one kind of data."""
    title = f"{runs[0].modality}, {runs[0].unit}"
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    made.add_column("run", overflow="fold", min_width=14)
    made.add_column("mixer", no_wrap=True)
    for head in ("step", "tokens", "last", "best", "tok/s", "sooner"):
        made.add_column(head, justify="right", no_wrap=True)
    made.add_column("state", no_wrap=True)
    for one in runs:
        losses, baseline = one.losses(), baseline_of(one, runs)
        mark = "*" if baseline and unfair(one, baseline) else ""
        made.add_row(
            one.name,
            one.mixer,
            f"{one.step:,}/{one.steps:,}",
            f"{one.rows[-1]['tokens'] / 1e6:.1f} M" if one.rows else "",
            f"{losses[-1]:.3f}" if losses else "",
            f"{min(losses):.3f}" if losses else "",
            f"{one.tokens_per_second:,.0f}" if one.rows else "",
            f"{speedup_over(one, baseline):.2f}{mark}" if baseline else "",
            one.state(now),
        )
    return made


def notes(runs: Sequence[Run]) -> list[str]:
    """What the table's last column but one means, and which of its comparisons are not fair."""
    pairs = [(one, baseline) for one in runs if (baseline := baseline_of(one, runs))]
    marked = [
        f"* {one.name} and {baseline.name} also differ in "
        + ", ".join(f"{name} ({values})" for name, values in unfair(one, baseline).items())
        for one, baseline in pairs
        if unfair(one, baseline)
    ]
    return [SOONER, *marked] if pairs else []
