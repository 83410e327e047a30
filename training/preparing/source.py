"""Sources of data: a file, a folder, an archive, a URL, or examples that the project makes itself."""

import bz2
import gzip
import lzma
import math
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.download import download
from waveletgpt.training.preparing.work import WorkFolder

BUILTIN = "builtin"
BLOCK = 1 << 22  # bytes read at a time
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}
MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz"}
"""The first bytes of packed files."""
MOST_RATIO = 100
"""An archive may unpack to this many times its size. Texts and recordings pack to a tenth at best."""
ALWAYS = 1 << 28
"""Bytes that any archive may unpack to."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    RuntimeError,  # raised by zipfile for passwords and unknown compressions
)


@dataclass(frozen=True)
class SourceFile:
    """A file of the source, on disk or in an archive."""

    name: str
    """Path relative to the source, with / between folders."""
    size: int
    """Bytes; 0 if unknown before reading to the end."""
    stamp: str
    """Changes whenever the file changes: its date and size, or a checksum."""
    open: Callable[[], IO[bytes]]
    path: Path | None = None
    """Its path on disk; None if it is in an archive."""

    @classmethod
    def at(cls, path: Path, name: str) -> "SourceFile":
        """The file at `path` on disk; `name` is its path relative to the source."""
        return cls(name, path.stat().st_size, _stamp(path), lambda: path.open("rb"), path)

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Its bytes, `size` at a time. Raises InputError if they cannot be read."""
        try:
            with self.open() as file:
                while block := file.read(size):
                    yield block
        except InputError:
            raise
        except UNREADABLE as error:
            what = "cannot be read" if self.path else "is damaged and cannot be unpacked"
            raise InputError(f"{self.name} {what}: {_first_line(error)}") from None

    def on_disk(self, folder: Path) -> Path:
        """Its path on disk. A file in an archive is unpacked into `folder`. Raises InputError if it cannot be read."""
        if self.path:
            return self.path
        with tempfile.NamedTemporaryFile(dir=folder, prefix="unpacked-", delete=False) as copy:
            try:
                for block in self.blocks():
                    copy.write(block)
            except BaseException:
                Path(copy.name).unlink()
                raise
        return Path(copy.name)


class UnpackLimitError(InputError):
    """An archive unpacks to more than it may."""


@dataclass(frozen=True)
class UnpackLimit:
    """How much an archive may unpack to."""

    archive: Path
    most: float
    """Bytes."""
    reason: str

    @classmethod
    def of(cls, archive: Path, scratch: Path) -> "UnpackLimit":
        """`MOST_RATIO` times the archive's size, and no more than is free on the disk of `scratch`."""
        free = shutil.disk_usage(scratch).free
        most = max(ALWAYS, MOST_RATIO * archive.stat().st_size)
        return cls(archive, free, "is free on the disk") if free < most else cls(archive, most, "its size explains")

    def check(self, size: int) -> None:
        """Raise UnpackLimitError if `size`, in bytes, is too much."""
        if size > self.most:
            raise UnpackLimitError(
                f"{self.archive} unpacks to more than {self.most / 1e9:,.1f} GB, which is more than {self.reason}; "
                "add --trust-archive if that is right"
            )


class _Limited:
    """A packed file that is read up to a limit."""

    def __init__(self, unpacked: IO[bytes], limit: UnpackLimit) -> None:
        self.unpacked, self.limit = unpacked, limit
        self.tell, self.close = unpacked.tell, unpacked.close

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, of which at most one is beyond the limit."""
        left = self.limit.most + 1 - self.tell()
        data = self.unpacked.read(int(min(size, left)))
        self.limit.check(self.tell())
        return data

    def seek(self, position: int) -> int:
        """Go to a position, which may not be beyond the limit."""
        self.limit.check(position)
        return self.unpacked.seek(position)

    def __enter__(self) -> "_Limited":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def opened_source(
    source: str,
    suffixes: tuple[str, ...],
    builtin: Callable[[Path], None],
    work: WorkFolder,
    *,
    trusted: bool = False,
) -> Iterator[list[SourceFile]]:
    """Yield the files of a source, in the order in which they are read fastest.

    Files of an archive are unpacked only as they are read. Hidden files, such as those that macOS adds to archives,
    are left out.

    Args:
        source: "builtin", or a path or URL of a file, a folder or an archive: .zip, .tar, .tar.gz, .tar.bz2, .tar.xz,
            or .gz, .bz2 or .xz, which hold one file.
        suffixes: of the files wanted. A single file, alone or in an archive, may have any suffix.
        builtin: fills a folder with examples.
        work: keeps downloads, examples and unpacked files.
        trusted: unpack whatever an archive holds, without the limit of `UnpackLimit`.

    Raises:
        InputError: the source is missing or damaged, holds no such file, or unpacks to more than it may. A packed file
            that is no archive tells its size only when it is read.
    """
    path = Path(source)
    if source == BUILTIN:
        path = _make_builtin(builtin, work)
    elif source.startswith(("http://", "https://")):
        path = download(source, work.download)
    if not path.exists():
        raise InputError(f"{source} does not exist; --source takes a file, a folder, an archive or a URL")
    with ExitStack() as stack:
        try:
            limit = UnpackLimit(path, math.inf, "") if trusted else UnpackLimit.of(path, work.scratch)
            found = _list_files(path, stack, limit)
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(f"{path} is damaged and cannot be unpacked: {_first_line(error)}") from None
        # By name: a tar may contain a newer version of the same file further on.
        visible = list({file.name: file for file in found if not _is_hidden(file.name)}.values())
        chosen = [file for file in visible if PurePosixPath(file.name).suffix.lower() in suffixes]
        if not path.is_dir() and 1 in (len(found), len(visible)):
            chosen = visible or found
        if not chosen:
            raise InputError(f"{source} holds no files ending in {', '.join(suffixes)}")
        limit.check(sum(file.size for file in chosen if not file.path))
        yield chosen


def _make_builtin(builtin: Callable[[Path], None], work: WorkFolder) -> Path:
    """The folder of examples, filled by `builtin` if it is not there yet."""
    if not work.builtin.exists():
        filling = Path(tempfile.mkdtemp(dir=work.scratch))
        builtin(filling)
        filling.replace(work.builtin)
    return work.builtin


def _list_files(path: Path, stack: ExitStack, limit: UnpackLimit) -> list[SourceFile]:
    """All files of a file, folder or archive. An archive stays open until `stack` closes."""
    name = path.name.lower()
    if path.is_dir():
        return _in_folder(path)
    if name.endswith(".zip"):
        return _in_zip(stack.enter_context(zipfile.ZipFile(path)))
    if name.endswith(TARS):
        unpacked = stack.enter_context(_unpacked(path, _packing(path), limit))
        return _in_tar(stack.enter_context(tarfile.open(fileobj=unpacked, mode="r:")), _stamp(path))
    if path.suffix.lower() in PACKED:
        return [SourceFile(path.stem, 0, _stamp(path), partial(_unpacked, path, path.suffix.lower(), limit))]
    return [SourceFile.at(path, path.name)]


def _packing(path: Path) -> str:
    """How a tar is packed, as a suffix, by its first bytes; empty if it is not."""
    with path.open("rb") as file:
        head = file.read(max(map(len, MAGIC)))
    return next((suffix for magic, suffix in MAGIC.items() if head.startswith(magic)), "")


def _unpacked(path: Path, packing: str, limit: UnpackLimit) -> IO[bytes]:
    """A file to read, unpacked up to the limit."""
    return cast("IO[bytes]", _Limited(PACKED[packing](path), limit)) if packing else path.open("rb")


def _in_folder(folder: Path) -> list[SourceFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [SourceFile.at(path, path.relative_to(folder).as_posix()) for path in paths]


def _in_zip(archive: zipfile.ZipFile) -> list[SourceFile]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:  # zipfile unpacks other kinds in pieces of any size
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{archive.filename}: {member.filename} is not packed with deflate; pack it again so")
    return [
        SourceFile(_name(m.filename), m.file_size, f"{m.CRC:08x}", partial(archive.open, m))
        for m in sorted(members, key=lambda m: PurePosixPath(m.filename))
    ]


def _in_tar(archive: tarfile.TarFile, stamp: str) -> list[SourceFile]:
    """In the order of the archive: going back in a compressed one means reading it again from the start."""
    reading: Callable[[tarfile.TarInfo], Any] = archive.extractfile  # never None: members are files
    return [SourceFile(_name(m.name), m.size, stamp, partial(reading, m)) for m in archive if m.isfile()]


def _stamp(path: Path) -> str:
    """Date and size, which tell a changed file, as in rsync."""
    return f"{path.stat().st_mtime_ns} {path.stat().st_size}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _name(member: str) -> str:
    return PurePosixPath(member).as_posix()


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[:1] == ("__MACOSX",) or any(part.startswith(".") for part in parts)
