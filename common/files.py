"""Writes that are whole or not there at all."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from waveletgpt.common.errors import InputError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that becomes `target` if the block ends without an error.

    The temporary name ends with `target`'s suffix, since writers choose a format by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-", suffix=target.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path, owned: Collection[str]) -> Iterator[Path]:
    """Yield a temporary directory beside `target` that replaces `target` if the block ends without an error.

    Only a directory that holds nothing but files named in `owned` is replaced: InputError for any other, so that
    nothing of somebody else's is lost.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a directory to write")
    others = sorted(path.name for path in target.iterdir() if path.name not in owned) if target.exists() else []
    if others:
        raise InputError(f"{target} holds {others[0]}, which would be lost; give a new or empty directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        yield partial
        partial.chmod(0o755)
        if target.exists():
            outgoing = Path(tempfile.mkdtemp(dir=target.parent, prefix=".outgoing-"))
            target.replace(outgoing / target.name)
            try:
                partial.replace(target)
            except BaseException:
                (outgoing / target.name).replace(target)
                raise
            finally:
                shutil.rmtree(outgoing)
        else:
            partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` as UTF-8, atomically."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")
