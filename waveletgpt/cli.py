"""The command line: `waveletgpt app` and others. Imports heavy packages only to run a command."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

import tyro

from waveletgpt.app.access import read_logins
from waveletgpt.app.commands.options import App, Generate, Inspect, Novelty, Runs, Train, Votes
from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command

COMMANDS: Any = App | Generate | Inspect | Novelty | Runs | Train | Votes
RUN = {
    Generate: "app.commands.generate",
    Inspect: "app.commands.inspection",
    Novelty: "app.commands.novelty",
    Runs: "app.commands.run_table",
    Train: "train",
    Votes: "app.commands.counting",
}
"""The modules of the commands beside `app`, each with a function `run`."""


def main() -> None:
    """Run the command line."""
    run_command(_main)


def _main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(f"waveletgpt {version('waveletgpt')}")
        return
    command = parse(
        COMMANDS,
        prog="waveletgpt",
        description="Small GPTs with a causal wavelet layer between their blocks. --version prints the version.",
        config=(tyro.conf.DisallowNone,),  # without it, --prompt None would be no prompt
    )
    if module := RUN.get(type(command)):
        import_module(f"waveletgpt.{module}").run(command)
    else:
        logins = read_logins(command.auth)
        # Gradio reads these when it is imported.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # it goes through all of them after every event
        with import_module("rich.console").Console(stderr=True).status("opening the page ..."):
            shipped = import_module("waveletgpt.app.checkpoints").SHIPPED
            page = import_module("waveletgpt.app.web.page")
        results = command.results or page.SHIPPED_REPORTS
        page.open_page(
            command.checkpoints or shipped,
            command.host,
            command.port,
            results=results,
            votes=command.votes,
            device=command.device,
            mcp=command.mcp,
            limits=command.limits,
            logins=logins,
            runs=command.runs,
        )
