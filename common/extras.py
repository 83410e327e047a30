"""Packages that only some uses need: the extras of pyproject.toml."""

from importlib import import_module
from typing import Any

from waveletgpt.common.errors import InputError


def import_extra(module: str, extra: str) -> Any:
    """Import a module that comes with an extra.

    Raises:
        InputError: it is missing. The message has the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise InputError(f"this needs {package}, which is missing; pip install 'waveletgpt[{extra}]'") from None
