"""How the app serves many: visitors with mixed wishes at once, work that nobody reads, and the memory of a session.

Starts the app, unless --url names one that runs. Prints a table, then one JSON object.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command
from waveletgpt.common.files import json_text

KINDS = ("text", "audio", "music")
TICK = 0.1  # seconds
LONGEST = 600.0  # seconds between two answers
QUIET = 0.15  # of a core: so much more than an idle app needs is work
REMEMBERED = 40.0  # seconds after which the app has forgotten a visitor; `MEMORY` of app/serving/visitors.py and a bit


@dataclass(frozen=True)
class Config:
    """How the app serves many visitors at once."""

    checkpoints: Path = Path("checkpoints")
    """Checkpoints of the app that is started."""
    url: str | None = None
    """Address of an app that runs already; then neither its memory nor when it gives work up is measured."""
    visitors: int = 32
    """Visitors at once. Their wishes go round text, audio and music."""
    share: float = 1.0
    """Part of the default length that each asks for, at least 0.1."""
    abandoned: int = 8
    """Calls whose answer is never fetched, streams that are dropped, and visitors of audio beside one text."""
    sessions: int = 100
    """Visitors that come and go, twice, to measure the memory of one; 0 skips this, which takes two minutes."""


class App:
    """A running app, and its process if it was started here."""

    def __init__(self, url: str, pid: int | None) -> None:
        self.url, self.pid, self.idle = url.rstrip("/"), pid, 0.0
        info = httpx.get(f"{self.url}/gradio_api/info", timeout=60).json()["named_endpoints"]
        self.defaults = {
            kind: {one["parameter_name"]: one["parameter_default"] for one in info[f"/generate_{kind}"]["parameters"]}
            for kind in KINDS
        }

    def post(self, kind: str, share: float, seed: int = 0) -> str:
        """Ask for a result; returns the address of the stream of its answers."""
        arguments = self.defaults[kind]
        asked = {**arguments, "length": round(arguments["length"] * share, 2), "seed": seed}
        return self.call(f"generate_{kind}", [*asked.values()])

    def call(self, name: str, data: list[Any]) -> str:
        """Call an endpoint; returns the address of the stream of its answers."""
        address = f"{self.url}/gradio_api/call/{name}"
        answer = httpx.post(address, json={"data": data}, timeout=60)
        answer.raise_for_status()
        return f"{address}/{answer.json()['event_id']}"

    def megabytes(self) -> float:
        """Memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        times = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def load(self, seconds: float) -> float:
        """Cores that the process keeps busy."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / seconds

    def seconds_until_quiet(self, limit: float = 30) -> float:
        """Seconds until the process computes no more than when it is idle."""
        begun = time.monotonic()
        while (now := time.monotonic()) - begun < limit and self.load(3 * TICK) > self.idle + QUIET:
            pass
        return now - begun


@dataclass(frozen=True)
class Visit:
    """How one visitor was served."""

    kind: str
    first: float
    """Seconds from the call to the first answer."""
    whole: float
    """Seconds from the call to the last answer."""
    error: str = ""


def visit(app: App, share: float, number: int) -> Visit:
    """Ask for a result and read all answers."""
    kind, begun, first, error = KINDS[number % len(KINDS)], time.monotonic(), 0.0, ""
    try:
        with httpx.stream("GET", app.post(kind, share, number), timeout=LONGEST) as answers:
            event = ""
            for line in answers.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and event in {"generating", "complete"}:
                    first = first or time.monotonic() - begun
                elif line.startswith("data: ") and event == "error":
                    error = str(json.loads(line.removeprefix("data: "))["error"])
    except (httpx.HTTPError, ValueError) as failure:
        error = repr(failure)
    return Visit(kind, first, time.monotonic() - begun, error)


def served(app: App, config: Config) -> dict[str, Any]:
    """All visitors at once."""
    with ThreadPoolExecutor(config.visitors) as pool:
        visits = list(pool.map(partial(visit, app, config.share), range(config.visitors)))
    report: dict[str, Any] = {}
    for kind in KINDS:
        mine = [one for one in visits if one.kind == kind]
        done = [one for one in mine if not one.error]
        report[kind] = {"visitors": len(mine), "served": len(done)}
        for what in ("first", "whole"):
            waits = [getattr(one, what) for one in done] or [0.0]
            report[kind] |= {f"{what}_s_median": round(median(waits), 2), f"{what}_s_max": round(max(waits), 2)}
    return {"kinds": report, "errors": sorted({one.error for one in visits if one.error})}


def abandoned(app: App, config: Config) -> dict[str, Any]:
    """Calls that are never fetched and streams that are dropped, and how long a text takes beside them."""
    report: dict[str, Any] = {}
    for what in ("unread", "dropped"):
        if app.pid:
            app.seconds_until_quiet()
        for number in range(config.abandoned):
            address = app.post("audio", 1, number)
            if what == "dropped":
                with httpx.stream("GET", address, timeout=60) as answers:
                    next(answers.iter_lines(), None)
        ended = app.seconds_until_quiet() if app.pid else None
        text = visit(app, config.share, 0)
        report[what] = {
            "calls": config.abandoned,
            "given_up_after_s": ended and round(ended, 2),
            "text_after_s": round(text.first, 2),
        }
    return report


def beside_audio(app: App, config: Config) -> dict[str, Any]:
    """How long one text takes while others make sound."""
    with ExitStack() as stack:
        for number in range(config.abandoned):
            stack.enter_context(httpx.stream("GET", app.post("audio", 1, number), timeout=60))
        time.sleep(2)
        visits = [visit(app, config.share, 0) for _ in range(3)]
    return {
        "audio": config.abandoned,
        "text_first_s": [round(one.first, 2) for one in visits],
        "text_whole_s": [round(one.whole, 2) for one in visits],
    }


def memory(app: App, config: Config) -> dict[str, Any]:
    """Visitors that come and go, in two rounds. What the second adds was not given back after the first."""

    def come(name: str) -> None:
        httpx.get(app.call(name, []), timeout=60)

    megabytes = [app.megabytes()]
    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(come, ["checkpoints"] * config.sessions))
        megabytes.append(app.megabytes())
        time.sleep(REMEMBERED)
    first, second = (after - before for before, after in pairwise(megabytes))
    return {
        "megabytes": [round(one, 1) for one in megabytes],
        "first_round_mb_per_session": round(first / config.sessions, 3),
        "second_round_mb_per_session": round(second / config.sessions, 3),
    }


def show(report: dict[str, Any], console: Console) -> None:
    """Print the results as tables."""
    table = Table("kind", "served", "first answer, s: median", "max", "whole, s: median", "max")
    for kind, of in report["kinds"].items():
        waits = [f"{of[f'{what}_s_{part}']:.2f}" for what in ("first", "whole") for part in ("median", "max")]
        table.add_row(kind, f"{of['served']} of {of['visitors']}", *waits)
    console.print(table)
    table = Table("abandoned", "calls", "given up after, s", "first answer of a text after it, s")
    for what, of in report["abandoned"].items():
        ended = "-" if of["given_up_after_s"] is None else f"{of['given_up_after_s']:.2f}"
        table.add_row(what, str(of["calls"]), ended, f"{of['text_after_s']:.2f}")
    console.print(table)
    for error in report["errors"]:
        console.print("Refused:", error)
    console.print("A text beside audio:", report["beside_audio"])
    if "memory" in report:
        console.print("Memory:", report["memory"])


@contextmanager
def running(config: Config) -> Iterator[App]:
    """The app of --url, or one that is started."""
    if config.url:
        yield App(config.url, None)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "waveletgpt", "app", "--port", port, "--checkpoints", str(config.checkpoints)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if not (process.stdout and process.stdout.readline()):
                raise SystemExit("error: the app did not start")
            app = App(f"http://127.0.0.1:{port}", process.pid)
            visit(app, 0.1, 0)  # until the engine is compiled
            time.sleep(1)
            app.idle = app.load(2)
            yield app
        finally:
            process.terminate()


def main() -> None:
    """Run the benchmark and print its results."""
    config = parse(Config, description=__doc__)
    with running(config) as app:
        report = {"config": {**asdict(config), "checkpoints": str(config.checkpoints)}, **served(app, config)}
        report["beside_audio"] = beside_audio(app, config)
        report["abandoned"] = abandoned(app, config)
        if app.pid and config.sessions:
            report["memory"] = memory(app, config)
    show(report, Console())
    print(json_text(report))


if __name__ == "__main__":
    run_command(main)
