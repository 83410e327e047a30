"""Errors that are the input's fault, told in one line."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """Input from outside cannot be used. The message is one line: what is wrong and what would be right."""


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command line's main function and exit: one line instead of a traceback for bad input.

    Exit status: 0 done, 1 the machine refused (disk, permission), 2 bad input, 130 interrupted.
    """
    try:
        main()
    except InputError as error:
        exit_with(str(error), 2)
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        exit_with(str(error), 1)
    except KeyboardInterrupt:
        exit_with("interrupted", 130)
    sys.exit(0)


def exit_with(message: str, status: int) -> NoReturn:
    """Print `error: message` as one line on standard error and exit with `status`."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(status)
