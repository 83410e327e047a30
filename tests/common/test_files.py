"""A write is complete or leaves nothing, and no file of another program is lost."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common import files
from waveletgpt.common.cores import available_cores
from waveletgpt.common.errors import DiskFullError, InputError
from waveletgpt.common.files import (
    PREFIX,
    atomic_directory,
    atomic_path,
    json_text,
    lock,
    read_json,
    read_text,
    remove_leftovers,
    write_text,
)


def names(directory: Path) -> list[str]:
    return sorted(f"{path.relative_to(directory)}" for path in directory.rglob("*"))


@pytest.fixture(params=["exchange", "two renames"])
def swapping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """True if the system can swap two directories in one step; both cases are tested."""
    if request.param == "two renames":
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    return str(request.param)


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "notes.txt"
    with atomic_path(target) as partial:
        assert partial.name == "notes.txt"  # writers choose a format by the file name
        partial.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    assert target.stat().st_mode & 0o777 == 0o644
    with pytest.raises(RuntimeError), atomic_path(target) as partial:
        partial.write_text("two")
        raise RuntimeError
    assert target.read_text() == "one"
    write_text(target, "three")
    assert target.read_text() == "three"
    assert names(tmp_path) == ["new", "new/notes.txt"]


def test_a_directory_is_replaced_when_it_is_whole(tmp_path: Path, swapping: str) -> None:
    target = tmp_path / "new" / "place"
    for content in ("one", "two"):
        with atomic_directory(target, ["a.txt"]) as partial:
            (partial / "a.txt").write_text(content)
        assert (target / "a.txt").read_text() == content
    with pytest.raises(RuntimeError), atomic_directory(target, ["a.txt"]) as partial:
        (partial / "a.txt").write_text("three")
        raise RuntimeError
    assert (target / "a.txt").read_text() == "two"
    assert names(tmp_path) == ["new", "new/place", "new/place/a.txt"]
    assert target.stat().st_mode & 0o777 == tmp_path.joinpath("new").stat().st_mode & 0o777


def test_what_is_somebody_else_s_is_refused_or_kept(tmp_path: Path, swapping: str) -> None:
    target = tmp_path / "place"
    (target / "ideas").mkdir(parents=True)
    (target / "ideas" / "one.txt").write_text("dear")
    (target / "notes.txt").write_text("dearer")
    (target / "link").symlink_to("notes.txt")
    with pytest.raises(InputError, match="ideas, which would be lost"), atomic_directory(target, ["a.txt"]):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_directory(target / "notes.txt", ["a.txt"]):
        pass
    for content in ("one", "two"):
        with atomic_directory(target, ["a.txt"], keep_others=True) as partial:
            (partial / "a.txt").write_text(content)
        assert names(target) == ["a.txt", "ideas", "ideas/one.txt", "link", "notes.txt"]
        assert (target / "a.txt").read_text() == content
        assert (target / "ideas" / "one.txt").read_text() == "dear"
        assert (target / "link").read_text() == "dearer"
    assert names(tmp_path) == ["place", *(f"place/{name}" for name in names(target))]


def test_others_are_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "notes.txt").write_text("dear")
    with atomic_directory(tmp_path / "place", [], keep_others=True):
        pass
    assert (tmp_path / "place" / "notes.txt").read_text() == "dear"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, number: int) -> None:
    write_text(tmp_path / "a.txt", "one")
    refused = pytest.raises(DiskFullError, match=r"a\.txt cannot be written \(.+\); what was there is kept")
    with refused, atomic_path(tmp_path / "a.txt") as partial:
        partial.write_text("tw")
        raise OSError(number, os.strerror(number))
    with pytest.raises(DiskFullError, match="place cannot be written"), atomic_directory(tmp_path / "place", []):
        raise OSError(number, os.strerror(number))
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a.txt"):
        raise PermissionError
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "one"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="No space left on device"), atomic_path(tmp_path / "a.txt"):
        Path("/dev/full").write_text("x")


WRITER = """
import sys, time
from pathlib import Path
from waveletgpt.common import files
files._exchanged = lambda *_: False
target = Path(sys.argv[1])
replace = Path.replace
def slow(self, to):
    moved = replace(self, to)
    if to.parent.name == "old":
        print("away", flush=True)
        time.sleep(60)
    return moved
Path.replace = slow
with files.atomic_directory(target, ["a.txt"]) as partial:
    (partial / "a.txt").write_text("two")
"""


def test_what_a_killed_process_left_is_put_back_and_removed(tmp_path: Path) -> None:
    """The writer is killed between the two renames. While it lives, its files are not touched."""
    target = tmp_path / "place"
    with atomic_directory(target, ["a.txt"]) as partial:
        (partial / "a.txt").write_text("one")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, f"{target}"], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "away\n"
        before = names(tmp_path)
        assert not target.exists()
        remove_leftovers(tmp_path)
        assert names(tmp_path) == before
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["place", "place/a.txt"]
    assert (target / "a.txt").read_text() == "one"


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}abc" / "new").mkdir(parents=True)
    (tmp_path / f"{PREFIX}abc" / "new" / "a.txt").write_text("half")
    (tmp_path / "partial-abc").mkdir()
    (tmp_path / ".hidden").write_text("mine")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "partial-abc"]
    remove_leftovers(tmp_path / "nowhere")


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with lock(tmp_path) as first, lock(tmp_path) as second:
        assert (first, second) == (True, False)
    with lock(tmp_path) as again:
        assert again
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from waveletgpt.common.files import lock\n"
            "with lock(Path(sys.argv[1])) as got: print(got, flush=True); time.sleep(60)",
            f"{tmp_path}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with lock(tmp_path) as held:
        assert held is False
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    deadline = time.monotonic() + 10
    while True:
        with lock(tmp_path) as freed:
            if freed:
                break
        assert time.monotonic() < deadline


def test_where_there_are_no_locks_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("waveletgpt.common.files.fcntl.flock", unknown)
    (tmp_path / f"{PREFIX}abc").mkdir()
    with lock(tmp_path) as got:
        assert got is None
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [f"{PREFIX}abc"]
    write_text(tmp_path / "a.txt", "one")
    assert (tmp_path / "a.txt").read_text() == "one"


@pytest.mark.parametrize("moment", ["tempfile.mkdtemp", "os.open"])
def test_a_writer_makes_another_directory_if_its_own_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The directory is removed before the writer opens it, or after it is opened and before it is locked."""
    left = iter([True])
    real: Callable[..., Any] = {"tempfile.mkdtemp": tempfile.mkdtemp, "os.open": os.open}[moment]

    def cleaned_up_once(*arguments: Any, **options: Any) -> Any:
        made = real(*arguments, **options)
        if next(left, False):
            remove_leftovers(tmp_path)
        return made

    monkeypatch.setattr(moment, cleaned_up_once)
    write_text(tmp_path / "a.txt", "one")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_writer_leaves_a_directory_that_another_process_is_removing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removing = tempfile.mkdtemp, ExitStack()

    def locked_by_another(**options: Any) -> str:
        made = real(**options)
        monkeypatch.setattr(tempfile, "mkdtemp", real)
        assert removing.enter_context(lock(Path(made)))
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", locked_by_another)
    with removing, atomic_path(tmp_path / "a.txt") as partial:
        (taken,) = (place for place in tmp_path.iterdir() if place != partial.parent)
        shutil.rmtree(taken)
        partial.write_text("one")
    assert names(tmp_path) == ["a.txt"]


def test_writers_survive_others_that_clean_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a second, threads write while others remove leftovers."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    failures: list[BaseException] = []
    deadline = time.monotonic() + 1

    def repeat(action: Callable[[], None]) -> None:
        try:
            while time.monotonic() < deadline:
                action()
        except BaseException as error:
            failures.append(error)

    actions = [lambda n=n: write_text(tmp_path / f"{n}.txt", f"{n}") for n in range(4)]
    actions += [lambda: remove_leftovers(tmp_path)] * 2
    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(tmp_path) == [f"{n}.txt" for n in range(4)]
    assert [(tmp_path / f"{n}.txt").read_text() for n in range(4)] == ["0", "1", "2", "3"]


def test_texts_and_objects_are_read(tmp_path: Path) -> None:
    assert read_text(tmp_path / "a.json") is None
    for content in (None, b"\xff", b"[]", b"{"):
        if content is not None:
            (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json cannot be read as a JSON object"):
            read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan(value: float) -> None:
    content = {"a": [1.5, {"b": (0, 1e300)}], "c": None}
    assert json.loads(json_text(content)) == json.loads(json_text(content, indent=2))
    for broken, name in (
        ({"loss": value}, "loss"),
        ({"a": [1, {"b": value}], "c": value}, r"a\[1\]\.b, c"),
        (value, f"{value}"),
    ):
        with pytest.raises(InputError, match=f"^{name} is not a finite number"):
            json_text(broken)


def test_there_is_a_core() -> None:
    assert available_cores() >= 1
