"""Curves for TensorBoard, in RUN/tensorboard, where it is installed."""

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console


class Curves:
    """Scalars by step. Nothing is written before the first, nor where TensorBoard is not installed."""

    def __init__(self, directory: Path, step: int, console: Console, *, wanted: bool = True) -> None:
        """A run that goes on from `step` takes the place of what was written for later steps."""
        self.directory, self.step, self.console = directory, step, console
        self.writer: Any = None
        self.off = not wanted

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Write `scalars`, by name, of `step`. Trouble is told once and ends the curves, not the run."""
        if self.off:
            return
        try:
            if self.writer is None:
                make = import_module("torch.utils.tensorboard").SummaryWriter
                _hush_writing_threads()
                self.writer = make(f"{self.directory}", purge_step=self.step + 1)
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)
        except ImportError:
            self.off = True
        except OSError as error:
            self._end(error)

    def flush(self) -> None:
        """Write what is held back."""
        if self.writer is not None and not self.off:
            try:
                self.writer.flush()
            except OSError as error:
                self._end(error)

    def _end(self, error: OSError) -> None:
        self.off = True
        self.console.print(f"TensorBoard's curves end here: {error}")


def _hush_writing_threads() -> None:
    """TensorBoard's threads show a traceback for what their next call raises; without it that is one line."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        ours = type(arguments.thread).__module__.startswith("tensorboard")
        if not (ours and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
