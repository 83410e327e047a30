"""Errors caused by the input. Each is a single line."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

TOO_LARGE = re.compile("allocate|size calculation overflowed")
"""What PyTorch says when there is not enough memory."""


class InputError(ValueError):
    """Input from outside cannot be used. The message is one line: what is wrong and what would be right."""


def quoted(value: object) -> str:
    """A value in a message."""
    return "empty" if value is None else repr(value)[:80]


def check_whole(flag: str, value: int, least: int, meaning: str = "", most: int = 2**31 - 1) -> None:
    """Raise InputError unless `value` is from `least` to `most`. `meaning` says what the least value stands for."""
    if value < least:
        raise InputError(f"{flag} is {value}; it must be {least} {f'({meaning}) ' * bool(meaning)}or more")
    if value > most:
        raise InputError(f"{flag} is {quoted(value)}; it must be {most:,} or less")


@contextmanager
def renamed(path: object, name: str) -> Iterator[None]:
    """Within the block, the messages of an InputError call the file `path` by the `name` that people know."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from None


class DiskFullError(OSError):
    """There is no room for a file. The message is one line: which file, and that what was there is kept."""


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
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not TOO_LARGE.search(str(error)):
            raise
        exit_with("there is not enough memory for this; choose smaller sizes", 1)
    except KeyboardInterrupt:
        exit_with("interrupted", 130)
    sys.exit(0)


def exit_with(message: str, status: int) -> NoReturn:
    """Print `error: message` as one line on standard error and exit with `status`.

    Of the processes that torchrun starts on a machine the first alone speaks; torchrun's summary repeats the message.
    """
    line = f"error: {' '.join(message.split())}"
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        report = {"message": {"message": line, "extraInfo": {"timestamp": int(time.time())}}}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report), encoding="utf-8")
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line, file=sys.stderr)
    else:
        time.sleep(1)  # else torchrun may see this process end and stop the first one before it has printed its error
    sys.exit(status)
