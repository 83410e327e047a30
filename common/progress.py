"""A progress bar for work that is counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def progress_bar(
    what: str, total: float | None, *, unit: str = "", done: float = 0
) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error while the block runs, if that is a terminal.

    Args:
        what: the label of the bar.
        total: how much there is to do, or None if that is not known.
        unit: "bytes" shows megabytes and megabytes per second instead of counts.
        done: how much of `total` is done already.

    Yields:
        A function that moves the bar on by the amount just done.
    """
    console = Console(stderr=True)  # standard output is for results
    counts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    columns = TextColumn(what), BarColumn(), *counts, TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=int(done))
        yield lambda count: bar.update(task, advance=count)
