"""Atomic writes: a file or directory is whole or not there, even if the process is killed or the disk is full.

Writers work in a temporary directory `.partial-*` beside the target and hold its lock. Then they rename the result to
the target.
"""

import ctypes
import errno
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from waveletgpt.common.errors import DiskFullError, InputError

if sys.platform != "win32":
    import fcntl

PREFIX = ".partial-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Write a file atomically.

    Yields:
        The path of an empty file of the same name. It replaces `target` if the block ends without an error.

    Raises:
        DiskFullError: there is no room for the file.
    """
    with _workplace(target) as place:
        partial = place / target.name
        partial.touch()
        yield partial
        partial.chmod(0o644)
        _flush(partial)
        partial.replace(target)
        _flush(target.parent)


@contextmanager
def atomic_directory(target: Path, owned: Collection[str], *, keep_others: bool = False) -> Iterator[Path]:
    """Write a directory atomically.

    Args:
        target: the directory to write.
        owned: names in `target` that may be replaced. All others belong to somebody else.
        keep_others: keep these others, instead of refusing to write.

    Yields:
        A new directory. It replaces `target` if the block ends without an error.

    Raises:
        InputError: `target` is a file, or holds something that is not `owned` and may not be kept.
        DiskFullError: there is no room.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a directory to write")
    others = _others(target, owned)
    if others and not keep_others:
        raise InputError(f"{target} holds {others[0].name}, which would be lost; give a new or empty directory")
    with _workplace(target) as place:
        new = place / "new"
        new.mkdir()
        yield new
        for path in new.rglob("*"):
            _flush(path)
        for path in _others(target, owned):
            _link(path, new / path.name)
        _flush(new)
        if not (target.exists() and _exchanged(new, target)):
            if target.exists():
                (place / "old").mkdir()
                target.replace(place / "old" / target.name)
            new.replace(target)
        _flush(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` as UTF-8, atomically."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def read_text(path: Path) -> str | None:
    """The text of a file; None if there is no such file, or none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if there is none."""
    try:
        content = json.loads(read_text(path) or "")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} cannot be read as a JSON object")
    return content


def json_text(content: Any, *, indent: int | None = None) -> str:
    """`content` as JSON. Raises InputError for NaN and infinity, which JSON does not have."""
    try:
        return json.dumps(content, indent=indent, allow_nan=False)
    except ValueError:
        found = ", ".join(_not_finite(content))
        raise InputError(f"{found} is not a finite number, and JSON has no other numbers") from None


def _not_finite(content: Any, name: str = "") -> Iterator[str]:
    """Names of the entries of `content` that are NaN or infinite, such as losses.val."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _not_finite(value, f"{name}.{key}".strip("."))
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from _not_finite(value, f"{name}[{i}]")
    elif isinstance(content, float) and not math.isfinite(content):
        yield name or str(content)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary directories of killed writers in `directory`, and put back what they had moved away.

    Directories of living writers are left alone.
    """
    for place in directory.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError), lock(place) as free:  # missing: its writer has just finished
            if free:
                _clear(place)


@contextmanager
def lock(directory: Path) -> Iterator[bool | None]:
    """Try to lock a directory for the duration of the block. The lock also ends with the process.

    Yields:
        Whether the lock was free, or None if the file system has no locks.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    if sys.platform == "win32":
        yield None
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got: bool | None = True
        except BlockingIOError:
            got = False
        except OSError:
            got = None
        yield got
    finally:
        os.close(handle)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A locked directory beside `target` to write in, removed afterwards."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            place = _make_locked(target.parent, held)
            try:
                yield place
            finally:
                _clear(place)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(f"{target} cannot be written ({error.strerror}); what was there is kept") from error
        raise


def _make_locked(parent: Path, held: ExitStack) -> Path:
    """Make a temporary directory and lock it until `held` is closed.

    Until it is locked, `remove_leftovers` takes it for the directory of a killed writer. Then another one is made.
    """
    while True:
        place = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        with suppress(FileNotFoundError), ExitStack() as attempt:
            if attempt.enter_context(lock(place)) is not False and place.exists():
                held.push(attempt.pop_all())
                return place


def _clear(place: Path) -> None:
    """Remove a writer's directory. A target that was moved away and not replaced goes back first."""
    for old in (place / "old").glob("*"):
        home = place.parent / old.name
        if not home.exists():
            old.replace(home)
    shutil.rmtree(place, ignore_errors=True)


def _others(target: Path, owned: Collection[str]) -> list[Path]:
    """What a directory holds that is not `owned`, sorted by name; nothing if there is no such directory."""
    return sorted(path for path in target.iterdir() if path.name not in owned) if target.exists() else []


def _exchanged(a: Path, b: Path) -> bool:
    """Swap two paths in one step. Returns False and does nothing where the system cannot (not Linux, or NFS)."""
    if sys.platform != "linux":
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    return renameat2 is not None and renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0


def _link(source: Path | str, target: Path | str) -> None:
    """Hard-link a file or all files of a directory, or copy them if the file system has no hard links."""
    if Path(source).is_dir() and not Path(source).is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _flush(path: Path) -> None:
    """Sync a file, or a directory's entries, to the disk."""
    if sys.platform == "win32" or path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
