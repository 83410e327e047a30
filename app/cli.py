"""The command line: `waveletgpt app`, `generate`, `inspect`, `votes`. Imports heavy packages only to run a command."""

import os
from importlib import import_module
from typing import Any

import tyro

from waveletgpt.app.access import read_logins
from waveletgpt.app.commands import App, Generate, Inspect, Votes
from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command

COMMANDS: Any = App | Generate | Inspect | Votes


def main() -> None:
    """Run the command line."""
    run_command(_main)


def _main() -> None:
    command = parse(
        COMMANDS,
        prog="waveletgpt",
        description="Small GPTs with a causal wavelet layer between their blocks.",
        config=(tyro.conf.DisallowNone,),  # without it, --prompt None would be no prompt
    )
    if isinstance(command, Generate):
        import_module("waveletgpt.app.generate").run(command)
    elif isinstance(command, Inspect):
        import_module("waveletgpt.app.inspection").run(command)
    elif isinstance(command, Votes):
        import_module("waveletgpt.app.counting").run(command)
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
        )
