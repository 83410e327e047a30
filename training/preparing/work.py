"""The folder OUT.unfinished, which keeps the results of an interrupted preparation."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import lock, remove_leftovers


@dataclass(frozen=True)
class WorkFolder:
    """The parts of `folder`."""

    folder: Path

    @property
    def download(self) -> Path:
        """The file of a URL, complete or in part."""
        return self.folder / "download"

    @property
    def builtin(self) -> Path:
        """Example files that this project makes itself (--source builtin)."""
        return self.folder / "builtin"

    @property
    def pieces(self) -> Path:
        """Finished results, one file each, named by a hash of their inputs."""
        return self.folder / "pieces"

    @property
    def scratch(self) -> Path:
        """Temporary files; empty at the start."""
        return self.folder / "scratch"

    @property
    def holds_results(self) -> bool:
        """Whether there is anything to continue from."""
        return any(path.is_file() for part in (self.download, self.pieces) for path in part.rglob("*"))

    def remove(self) -> None:
        """Remove these parts, and the folder if nothing else is in it."""
        for part in (self.download, self.builtin, self.pieces, self.scratch):
            shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()


def unfinished(out: Path) -> Path:
    """The work folder of the output directory `out`."""
    return out.resolve().with_name(f"{out.resolve().name}.unfinished")


@contextmanager
def work_folder(out: Path) -> Iterator[WorkFolder]:
    """Yield the folder `<out>.unfinished`, for one process at a time.

    It is removed when the block succeeds. When the block fails or the process is killed, the folder stays if the same
    command can continue from it.

    Raises:
        InputError: another process is using it.
    """
    out = out.resolve()
    work = WorkFolder(unfinished(out))
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
