"""What `prepare_text`, `prepare_audio` and `prepare_music` share: settings, provenance and the command line."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waveletgpt.common.command_line import parse
from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import check_whole
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.preparing.source import BUILTIN
from waveletgpt.training.preparing.work import unfinished
from waveletgpt.training.preparing.workers import Workers

MOST_WORKERS = 1024
SHOWN = 5  # skipped files that the command line lists


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare, and where to."""

    source: str
    """A file, a folder, an archive, a URL of one, or `builtin`."""
    out: Path
    """Directory to write. An interrupted run leaves OUT.unfinished beside it; the same command continues it."""
    name: str = ""
    """Name of the data in model cards; by default the source's file name."""
    licence: str = "not stated"
    """Licence of the data. It is stored with the data and with every model trained on them."""
    trust_archive: bool = False
    """Unpack an archive whatever it holds. By default at most 100 times its size, and what is free on the disk."""
    workers: int | None = None
    """Processes that encode; by default one per core. With 0 the command encodes in its own process."""

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_whole("--workers", self.workers, 0, most=MOST_WORKERS)

    def processes(self) -> Workers:
        """The worker processes that encode."""
        return Workers(available_cores() if self.workers is None else self.workers)

    def provenance(self, builtin: str, builtin_licence: str) -> dict[str, Any]:
        """`DatasetInfo`'s source, licence and origin. The arguments are source and licence of the builtin examples."""
        if self.source == BUILTIN:
            return {"source": builtin, "licence": builtin_licence, "origin": BUILTIN}
        origin = re.sub("//[^/@]*@", "//", self.source)  # passwords are not stored
        return {"source": self.name or Path(self.source).name, "licence": self.licence, "origin": origin}


C = TypeVar("C", bound=PrepareConfig)


def prepare_command(
    kind: type[C], prepare: Callable[[C], DatasetInfo], summary: Callable[[C, DatasetInfo], str], description: str
) -> None:
    """Read the command line, prepare the data and print a summary. Skipped files are listed on standard error."""
    config = parse(kind, description=description)
    try:
        info = prepare(config)
    except KeyboardInterrupt:
        if unfinished(config.out).exists():
            print(
                f"{unfinished(config.out)} keeps the finished part; run the same command again to continue",
                file=sys.stderr,
            )
        raise
    print(f"{config.out}: {summary(config, info)}")
    mention_skipped(info)


def mention_skipped(info: DatasetInfo) -> None:
    """List the files that could not be read on standard error."""
    if info.skipped:
        print(f"skipped {len(info.skipped)} that cannot be read; dataset.json lists them all:", file=sys.stderr)
        for skipped in info.skipped[:SHOWN]:
            print(f"  {skipped['file']}: {skipped['why']}", file=sys.stderr)
        if len(info.skipped) > SHOWN:
            print(f"  ... and {len(info.skipped) - SHOWN} more", file=sys.stderr)
