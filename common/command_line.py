"""Command lines from typed settings. An error in one is a single line."""

import re
import sys
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, TypeVar

from waveletgpt.common.errors import InputError

T = TypeVar("T")

DECORATION = re.compile(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]|(?<= )-{3,}")
"""Colours, and the lines of tyro's box; its rules are minus signs where the terminal knows ASCII only."""
USAGE_ERROR = 2


def parse(kind: type[T], **options: Any) -> T:
    """Read settings from the command line.

    Args:
        kind: the dataclass of the settings.
        options: passed on to `tyro.cli`.

    Raises:
        InputError: the command line is refused, with the message of the InputError that the settings themselves
            raised, or else with what tyro says.
        SystemExit: `--help` was printed.
    """
    import tyro  # noqa: PLC0415, only a command line needs it

    shown = StringIO()
    try:
        with redirect_stderr(shown):
            settings: T = tyro.cli(kind, **options)
    except SystemExit as stop:
        if stop.code != USAGE_ERROR:
            raise
        raise InputError(_cause(stop) or _one_line(shown.getvalue())) from None
    sys.stderr.write(shown.getvalue())
    return settings


def _cause(stop: SystemExit) -> str | None:
    """The message of the InputError that made tyro stop, if one did."""
    error: BaseException | None = stop
    while error and not isinstance(error, InputError):
        error = error.__context__
    return str(error) if error else None


def _one_line(box: str) -> str:
    """The text in tyro's box, without its title. tyro has no public way to get its messages as plain text."""
    return " ".join(DECORATION.sub(" ", box.partition("\n")[2]).split())
