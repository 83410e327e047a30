"""What preparing text, audio and music have in common: settings, provenance, and the command line."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waveletgpt.common.command_line import parse
from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import InputError
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.preparing.source import BUILTIN
from waveletgpt.training.preparing.work import unfinished
from waveletgpt.training.preparing.workers import Workers

SHOWN = 5  # files that were skipped, named on the command line


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare, and where to."""

    source: str
    """A file, a folder, an archive, a URL of one, or `builtin`."""
    out: Path
    """Directory to write. What an interrupted run has done waits beside it, in OUT.unfinished, for the same command."""
    name: str = ""
    """What model cards call the data; the source's file name unless given."""
    licence: str = "not stated"
    """Terms of the data, kept with what is trained on it."""
    workers: int | None = None
    """Processes that encode; as many as there are cores unless given. With 0 the command does it all itself."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise InputError(f"--workers is {self.workers}; it must be 0 or more")

    def processes(self) -> Workers:
        """The processes that encode."""
        return Workers(available_cores() if self.workers is None else self.workers)

    def provenance(self, builtin: str, builtin_licence: str) -> dict[str, Any]:
        """`DatasetInfo`'s source, licence and origin; the arguments are those of what the project makes itself."""
        if self.source == BUILTIN:
            return {"source": builtin, "licence": builtin_licence, "origin": BUILTIN}
        origin = re.sub("//[^/@]*@", "//", self.source)  # a password is nobody's business
        return {"source": self.name or Path(self.source).name, "licence": self.licence, "origin": origin}


C = TypeVar("C", bound=PrepareConfig)


def prepare_command(
    kind: type[C], prepare: Callable[[C], DatasetInfo], summary: Callable[[C, DatasetInfo], str], description: str
) -> None:
    """Read the command line, prepare, and say what came of it: on standard error, which files were skipped."""
    config = parse(kind, description=description)
    try:
        info = prepare(config)
    except KeyboardInterrupt:
        if unfinished(config.out).exists():
            print(f"{unfinished(config.out)} keeps what is done; the same command goes on from there", file=sys.stderr)
        raise
    print(f"{config.out}: {summary(config, info)}")
    if info.skipped:
        print(f"skipped {len(info.skipped)} that cannot be read; dataset.json lists them all:", file=sys.stderr)
        for skipped in info.skipped[:SHOWN]:
            print(f"  {skipped['file']}: {skipped['why']}", file=sys.stderr)
        if len(info.skipped) > SHOWN:
            print(f"  ... and {len(info.skipped) - SHOWN} more", file=sys.stderr)
