"""The folder beside the result that keeps what an unfinished preparation has done."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import lock, remove_leftovers


@dataclass(frozen=True)
class Work:
    """The parts of the folder `folder`."""

    folder: Path

    @property
    def download(self) -> Path:
        """Where a URL's file lies, in part or whole."""
        return self.folder / "download"

    @property
    def builtin(self) -> Path:
        """What the project makes itself when no source is at hand."""
        return self.folder / "builtin"

    @property
    def pieces(self) -> Path:
        """Results that are done, a file each, named by what they were made from."""
        return self.folder / "pieces"

    @property
    def scratch(self) -> Path:
        """Room for temporary files; empty at the start."""
        return self.folder / "scratch"

    @property
    def holds_results(self) -> bool:
        """Whether there is something to go on from."""
        return any(path.is_file() for part in (self.download, self.pieces) for path in part.rglob("*"))

    def remove(self) -> None:
        """Remove what is known here, and the folder if nothing else is in it."""
        for part in (self.download, self.builtin, self.pieces, self.scratch):
            shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()


def unfinished(out: Path) -> Path:
    """The folder for the work on the directory `out`."""
    return out.resolve().with_name(f"{out.resolve().name}.unfinished")


@contextmanager
def work_folder(out: Path) -> Iterator[Work]:
    """Yield the folder `<out>.unfinished`, for one process at a time.

    It is removed when the block ends well. When the block fails or the process is killed, it stays if it holds
    anything that the same command can go on from. Raises InputError if another process is using it.
    """
    out = out.resolve()
    work = Work(unfinished(out))
    work.folder.mkdir(parents=True, exist_ok=True)
    with lock(work.folder) as free:
        if free is False:
            raise InputError(f"{out} is being prepared already; wait for that, or give another --out")
        shutil.rmtree(work.scratch, ignore_errors=True)
        work.scratch.mkdir()
        work.pieces.mkdir(exist_ok=True)
        remove_leftovers(work.pieces)
        remove_leftovers(out.parent)
        try:
            yield work
        except BaseException:
            shutil.rmtree(work.scratch, ignore_errors=True)
            if not work.holds_results:
                work.remove()
            raise
        work.remove()
