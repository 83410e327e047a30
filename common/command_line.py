"""Command lines from typed settings, with what is wrong told in one line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any, TypeVar

import tyro

from waveletgpt.common.errors import InputError

T = TypeVar("T")

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SIDES, RULE = "│ ", "─-"  # of a box; in plain ASCII it has no sides
USAGE_ERROR = 2


def parse(kind: type[T], **options: Any) -> T:
    """The settings that the command line asks for, by `tyro.cli`, whose options these are.

    Raises InputError where tyro would draw a box; `--help` prints and exits as ever.
    """
    with plain_errors():
        settings: T = tyro.cli(kind, **options)
    return settings


@contextmanager
def plain_errors() -> Iterator[None]:
    """Within the block a command line that tyro refuses is an InputError.

    Settings that raise InputError when they are built are told in their own words, anything else in tyro's.
    """
    shown = StringIO()
    try:
        with redirect_stderr(shown):
            yield
    except SystemExit as stop:
        if stop.code != USAGE_ERROR:
            raise
        raise _own_words(stop) or InputError(_unboxed(shown.getvalue())) from None
    sys.stderr.write(shown.getvalue())


def _own_words(stop: SystemExit) -> InputError | None:
    """A fresh copy of the InputError that made tyro stop, if one did."""
    error: BaseException | None = stop
    while error and not isinstance(error, InputError):
        error = error.__context__
    return InputError(str(error)) if error else None


def _unboxed(text: str) -> str:
    """What tyro's box says, in one line: below its title, the parts between rules; the last points to --help."""
    parts = [""]
    for line in COLOURS.sub("", text).splitlines()[1:-1]:
        content = line.strip(SIDES)
        if content and not content.strip(RULE):
            parts.append("")
        else:
            parts[-1] += f" {content}"
    told = [" ".join(part.split()) for part in parts[:-1] if part]
    return "; ".join([*told, "--help lists the options"])
