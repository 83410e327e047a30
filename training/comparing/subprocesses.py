"""Processes that this one starts, which end when it does: by then they have saved what they have.

Their settings come as one line of JSON on standard input, whose end tells that this process has gone, even if it was
killed.
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
"""Seconds between two looks at a process."""
Process = subprocess.Popen[bytes]


def start_process(module: str, settings: dict[str, Any], log: Path, threads: int) -> Process:
    """Run a module with `settings` on standard input, which stays open, and its output in `log`.

    It has a session of its own, lest what a terminal sends to all reaches it: who started it passes on what is meant.
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
        with suppress(BrokenPipeError):  # it has died, as its status will tell
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
    return process


def read_settings() -> dict[str, Any]:
    """What `start_process` was given; from now on the end of standard input is SIGTERM."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=stop_when_alone, daemon=True).start()
    return settings


def stop_when_alone() -> None:
    """SIGTERM for this process when standard input ends."""
    while os.read(0, 1):  # unbuffered: a thread that holds a buffer's lock would break the end of the process
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def pause(stopping: Callable[[], bool]) -> None:
    """Wait before the next look at processes; KeyboardInterrupt if `stopping`."""
    if stopping():
        raise KeyboardInterrupt
    time.sleep(POLL)


def end(processes: Iterable[Process]) -> None:
    """Have processes save and stop, and wait for it; if waiting is interrupted, they are killed."""
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
    """The last line that a process has printed."""
    lines = [line.strip() for line in (read_text(log) or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
