"""Child processes that save and stop when this process ends, even if it is killed.

Their settings arrive as one line of JSON on standard input, which stays open. A child stops when it closes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from waveletgpt.common.files import read_text

POLL = 0.2
"""Seconds between two checks of a process."""
Process = subprocess.Popen[bytes]


def start_process(module: str, settings: dict[str, Any], log: Path, threads: int) -> Process:
    """Run a module in a child process.

    The child has its own process group, so Ctrl-C reaches it only through this process.

    Args:
        module: its `main` calls `read_settings`.
        settings: JSON-able.
        log: the child's output is appended to it.
        threads: OMP_NUM_THREADS of the child; 0 leaves it unchanged.
    """
    environ = {**os.environ, **({"OMP_NUM_THREADS": f"{threads}"} if threads else {})}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    if process.stdin:
        with suppress(BrokenPipeError):  # the child has died; its exit status says why
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
    return process


def read_settings() -> dict[str, Any]:
    """In a child: the settings given to `start_process`. From now on the end of standard input acts like SIGTERM."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=stop_with_parent, daemon=True).start()
    return settings


def stop_with_parent() -> None:
    """Send SIGTERM to this process when standard input ends."""
    while os.read(0, 1):  # unbuffered: a thread that holds the buffer's lock would crash the interpreter at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def wait_a_moment(stopping: Callable[[], bool]) -> None:
    """Sleep until the next check of the processes. Raises KeyboardInterrupt if `stopping()`."""
    if stopping():
        raise KeyboardInterrupt
    time.sleep(POLL)


def stop(processes: Iterable[Process]) -> None:
    """Tell processes to save and stop, and wait until they have. If the wait is interrupted, kill them."""
    processes = list(processes)
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()


def last_line(log: Path) -> str:
    """The last line of a log, without "error: "."""
    lines = [line.strip() for line in (read_text(log) or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
