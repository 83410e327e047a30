"""Ctrl-C and SIGTERM ask a run to save and stop."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BOUNCE = 1.0
"""Seconds within which further signals count as the same request: a launcher may repeat the terminal's signal."""


class Stopped(KeyboardInterrupt):
    """A run has saved and stopped after `step`, as asked."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step:,}")
        self.step = step


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within the block, the first Ctrl-C or SIGTERM asks to stop and a second one kills.

    Yields:
        A function that returns whether there was a request to stop.
    """
    asked_at: list[float] = []

    def ask(number: int, _frame: object) -> None:
        asked_at.append(time.monotonic())
        if asked_at[-1] - asked_at[0] > BOUNCE:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked_at)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
