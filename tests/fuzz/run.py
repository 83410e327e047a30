"""Damages inputs of every kind and reads them: `python tests/fuzz/run.py`, or `make fuzz`.

Each input must be read with sane results, or refused with one line (promises.py). Cases run in child processes, so one
that crashes, hangs or takes too much memory is named like any other. A case depends on its kind, its number and --seed
alone: `--kind midi --case 1234` runs it again and keeps its files.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

from rich.console import Console
from rich.table import Table

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.progress import progress_bar

KINDS = ("midi", "audio", "checkpoints", "endpoints")
BATCH = 500
"""Cases of one child process."""
PATIENCE = 60.0
"""Seconds that a case may take."""
START = 300.0
"""Seconds until the first case begins."""


@dataclass(frozen=True)
class Config:
    """Damage inputs and read them."""

    midi: int = 10_000
    """Number of MIDI files."""
    audio: int = 5_000
    """Number of audio files."""
    checkpoints: int = 1_000
    endpoints: int = 2_000
    """Number of calls of the app's endpoints."""
    seed: int = 0
    """Other seeds give other cases."""
    kind: str | None = None
    """With --case: the kind of the case."""
    case: int | None = None
    """Run this case alone, and keep its files."""


@dataclass
class Outcome:
    """What came of the cases of a kind."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)
    """What is wrong, in one line and in full, by case."""
    seconds: float = 0.0


def run_cases(kind: str, seed: int, cases: range, folder: Path, advance: Callable[[int], None]) -> Outcome:
    """Run cases in children, one after another. A child that dies or hangs is replaced after its last case."""
    outcome, begun, at = Outcome(), time.monotonic(), cases.start
    while at < cases.stop:
        count = min(BATCH, cases.stop - at)
        at = _run_batch(kind, seed, range(at, at + count), folder, outcome, advance)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _run_batch(  # noqa: PLR0917
    kind: str, seed: int, cases: range, folder: Path, outcome: Outcome, advance: Callable[[int], None]
) -> int:
    """Run cases in one child. Returns the first case that it did not run."""
    command = [sys.executable, str(Path(__file__).with_name("child.py"))]
    command += [kind, str(seed), str(cases.start), str(len(cases)), str(folder)]
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        assert child.stdout
        lines: Queue[str | None] = Queue()
        Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        current, done = None, cases.start
        try:
            patience = START
            while line := lines.get(timeout=patience):
                patience = PATIENCE
                word, number, *rest = line.split(maxsplit=2)
                current = int(number)
                if word == "broken":
                    outcome.broken[current] = tuple(json.loads(rest[0]))
                if word != "begin":
                    outcome.counts[word] += 1
                    current, done = None, current + 1
                    advance(1)
            how = f"the process ends with status {child.wait()}"
        except Empty:
            how = f"no answer in {patience:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and a server that it has started
            child.wait()
        if done == cases.stop:
            return done
        log.seek(0)
        if current is None:
            raise InputError(f"the cases of {kind} do not start: {how}; {' '.join(log.read()[-500:].split())}")
        outcome.broken[current] = how, log.read()[-5000:]
        outcome.counts["broken"] += 1
        advance(1)
        return current + 1


def _read(stream: IO[str], lines: "Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def report(outcomes: dict[str, Outcome], seed: int) -> None:
    """Print what came of all kinds, the commands of broken cases, and one JSON object."""
    table = Table("kind", "cases", "read", "refused", "broken", "seconds")
    for kind, one in outcomes.items():
        numbers = (one.counts.total(), *(one.counts[word] for word in ("read", "refused", "broken")))
        table.add_row(kind, *(f"{number:,}" for number in numbers), f"{one.seconds:.0f}")
    console = Console(stderr=True, width=100)
    console.print(table)
    for kind, one in outcomes.items():
        for case, (what, _) in one.broken.items():
            console.print(f"{kind} {case}: {what[:300]}", markup=False, soft_wrap=True)
            again = f"python tests/fuzz/run.py --kind {kind} --case {case} --seed {seed}"
            console.print(f"    {again}", markup=False, soft_wrap=True)
    print(json.dumps({kind: {**one.counts, "seconds": round(one.seconds, 1)} for kind, one in outcomes.items()}))


def main() -> None:
    """Run what the command line asks for. Exits with 1 if a promise is broken."""
    config = parse(Config, description=__doc__)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    if config.case is not None:
        if config.kind is None:
            raise InputError("--case needs --kind")
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        one = run_cases(config.kind, config.seed, range(config.case, config.case + 1), folder, lambda _: None)
        print(*(text for _, text in one.broken.values()), dict(one.counts), f"files: {folder}", sep="\n")
        sys.exit(bool(one.broken))
    outcomes = {}
    for kind in KINDS:
        if count := getattr(config, kind):
            with tempfile.TemporaryDirectory() as folder, progress_bar(kind, count) as advance:
                outcomes[kind] = run_cases(kind, config.seed, range(count), Path(folder), advance)
    report(outcomes, config.seed)
    sys.exit(any(one.broken for one in outcomes.values()))


if __name__ == "__main__":
    run_command(main)
