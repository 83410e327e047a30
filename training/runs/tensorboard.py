"""Curves for TensorBoard in RUN/tensorboard, if TensorBoard is installed."""

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console


class Curves:
    """Writes scalars by step, if TensorBoard is installed."""

    def __init__(self, directory: Path, step: int, console: Console, *, wanted: bool = True) -> None:
        """Begin after `step`; what was written for later steps is replaced."""
        self.directory, self.step, self.console = directory, step, console
        self.writer: Any = None
        self.off = not wanted

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Write named `scalars` of `step`. The first error is printed and ends the curves, but not the run."""
        if self.off:
            return
        try:
            if self.writer is None:
                make = import_module("torch.utils.tensorboard").SummaryWriter
                _silence_writer_threads()
                self.writer = make(f"{self.directory}", purge_step=self.step + 1)
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)
        except ImportError:
            self.off = True
        except OSError as error:
            self._end(error)

    def flush(self) -> None:
        """Write buffered scalars to the disk."""
        if self.writer is not None and not self.off:
            try:
                self.writer.flush()
            except OSError as error:
                self._end(error)

    def _end(self, error: OSError) -> None:
        self.off = True
        self.console.print(f"No more curves for TensorBoard: {error}")


def _silence_writer_threads() -> None:
    """Print no traceback for an OSError in TensorBoard's threads, because the next call raises it again."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        is_writer = type(arguments.thread).__module__.startswith("tensorboard")
        if not (is_writer and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
