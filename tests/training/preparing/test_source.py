import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing import source as source_module
from waveletgpt.training.preparing.source import opened_source
from waveletgpt.training.preparing.work import WorkFolder, work_folder

FILES = {"b.txt": b"two", "a.txt": b"one" * 10_000, "c/d.TXT": b"three", "c/e.txt": b"", "picture.png": b"\x89PNG"}
HIDDEN = {".f.txt": b"no", "c/.git/g.txt": b"no", "__MACOSX/._a.txt": b"no", "__MACOSX/c/d.txt": b"no"}
TEXTS = {name: data for name, data in FILES.items() if name != "picture.png"}
PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
ARCHIVES = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"]


def pack(target: Path, files: dict[str, bytes]) -> Path:
    """Put `files` into an archive, in their order."""
    if target.name.endswith(".zip"):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("c")
            for name, data in files.items():
                archive.writestr(name, data)
        return target
    kind = {"r": "", "z": "gz", "2": "bz2"}[target.name[-1]] if target.suffix not in {".txz", ".xz"} else "xz"
    with tarfile.open(target, f"w:{kind}") as tar:
        tar.add(target.parent, "./c", recursive=False)
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def spread_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WorkFolder]:
    with work_folder(tmp_path / "work" / "out") as work:
        yield work


def nothing(_: Path) -> None:
    raise AssertionError("only builtin sources are made")


def contents(source: Path | str, work: WorkFolder, suffixes: tuple[str, ...] = (".txt",)) -> dict[str, bytes]:
    """The bytes of each file of a source, read by blocks and checked against the copy on disk."""
    with opened_source(str(source), suffixes, nothing, work) as files:
        assert not any(work.scratch.iterdir())
        found = {file.name: b"".join(file.blocks(1000)) for file in files}
        assert {file.name: file.on_disk(work.scratch).read_bytes() for file in files} == found
        assert [file.size for file in files] in ([len(data) for data in found.values()], [0])
        return found


def refused(source: Path | str, work: WorkFolder) -> str:
    with pytest.raises(InputError) as refusal:
        contents(source, work)
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, work: WorkFolder) -> None:
    folder = spread_out(tmp_path / "folder", FILES | HIDDEN)
    assert list(contents(folder, work)) == ["a.txt", "b.txt", "c/d.TXT", "c/e.txt"]
    assert contents(folder, work) == TEXTS
    assert not any(work.scratch.iterdir())  # files on disk are read without a copy


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_holds_the_same_as_a_folder(tmp_path: Path, work: WorkFolder, kind: str) -> None:
    assert contents(pack(tmp_path / f"Texts{kind}", FILES | HIDDEN), work) == TEXTS


@pytest.mark.parametrize("kind", ARCHIVES)
def test_the_only_file_of_an_archive_is_taken_whatever_its_suffix(tmp_path: Path, work: WorkFolder, kind: str) -> None:
    """For example, text8.zip holds one file without a suffix."""
    assert contents(pack(tmp_path / f"one{kind}", {"text8": b"abc", **HIDDEN}), work) == {"text8": b"abc"}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_file_stands_for_the_one_in_it(tmp_path: Path, work: WorkFolder, kind: str) -> None:
    (tmp_path / f"enwik9{kind.upper()}").write_bytes(PACKERS[kind](b"abc" * 5000))
    assert contents(tmp_path / f"enwik9{kind.upper()}", work) == {"enwik9": b"abc" * 5000}


@pytest.mark.parametrize("name", ["README", ".hidden"])
def test_a_file_is_taken_whatever_its_name(tmp_path: Path, work: WorkFolder, name: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    assert contents(tmp_path / name, work) == {name: b"abc"}


def test_the_last_of_two_versions_in_a_tar_counts(tmp_path: Path, work: WorkFolder) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for data in (b"old", b"newer"):
            member = tarfile.TarInfo("a.txt")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert contents(tmp_path / "twice.tar", work) == {"a.txt": b"newer"}


def test_a_stamp_tells_versions_apart(tmp_path: Path, work: WorkFolder) -> None:
    def stamps(source: Path) -> list[tuple[str, int, str]]:
        with opened_source(str(source), (".txt",), nothing, work) as files:
            return [(file.name, file.size, file.stamp) for file in files]

    changed = {**FILES, "b.txt": b"TWO"}
    for place in ("texts.zip", "texts.tar.gz"):
        before = stamps(pack(tmp_path / place, FILES))
        assert stamps(tmp_path / place) == before
        assert stamps(pack(tmp_path / place, changed)) != before
    folder = spread_out(tmp_path / "folder", FILES)
    before = stamps(folder)
    assert stamps(folder) == before
    assert stamps(spread_out(folder, {"b.txt": b"TWO"})) != before


def test_what_is_no_source_is_refused(tmp_path: Path, work: WorkFolder) -> None:
    (tmp_path / "empty").mkdir()
    spread_out(tmp_path / "pictures", {"a.png": b"", "b.png": b""})
    pack(tmp_path / "pictures.zip", {"a.png": b"", "b.png": b""})
    assert "does not exist" in refused(tmp_path / "nowhere", work)
    for name in ("empty", "pictures", "pictures.zip"):
        assert "holds no files ending in .txt" in refused(tmp_path / name, work)


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2", *PACKERS])
def test_damaged_archives_are_refused(tmp_path: Path, work: WorkFolder, kind: str) -> None:
    path = tmp_path / f"texts{kind}"
    if kind in PACKERS:
        path.write_bytes(PACKERS[kind](bytes(range(256)) * 1000))
    else:
        pack(path, FILES)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no archive", b""):
        path.write_bytes(damaged)
        if not (kind in PACKERS and not damaged):  # an empty file is a valid packed file
            assert "is damaged and cannot be unpacked" in refused(path, work)


def test_a_damaged_member_is_refused_on_its_own(tmp_path: Path, work: WorkFolder) -> None:
    """A damaged file in an archive can be skipped, and no copy of it is left."""
    path = pack(tmp_path / "texts.zip", {"a.txt": b"abc" * 1000, "b.txt": b"whole"})
    data = bytearray(path.read_bytes())
    data[data.index(b"a.txt") + 8] ^= 255
    locked = bytearray(path.read_bytes())
    locked[locked.rindex(b"a.txt") - 38] |= 1  # its flags in the zip directory now say that it has a password
    for content in (data, locked):
        path.write_bytes(content)
        with opened_source(str(path), (".txt",), nothing, work) as files:
            by_name = {file.name: file for file in files}
            assert b"".join(by_name["b.txt"].blocks()) == b"whole"
            for reading in (lambda file: list(file.blocks()), lambda file: file.on_disk(work.scratch)):
                with pytest.raises(InputError, match=r"a\.txt is damaged and cannot be unpacked"):
                    reading(by_name["a.txt"])
        assert not any(work.scratch.iterdir())


def test_a_url_is_downloaded_and_kept_while_there_is_work(tmp_path: Path, work: WorkFolder) -> None:
    pack(tmp_path / "texts.zip", FILES)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for _ in range(2):
        assert contents(f"http://127.0.0.1:{server.server_port}/texts.zip", work) == TEXTS
        for path in work.scratch.iterdir():
            path.unlink()
    assert asked == ["/texts.zip"]
    server.shutdown()
    server.server_close()


def test_what_is_made_here_is_made_once(work: WorkFolder) -> None:
    made: list[Path] = []

    def builtin(folder: Path) -> None:
        made.append(folder)
        (folder / "a.txt").write_text(f"{len(made)}")

    for _ in range(2):
        with opened_source("builtin", (".txt",), builtin, work) as files:
            assert [(file.name, b"".join(file.blocks())) for file in files] == [("a.txt", b"1")]
    assert len(made) == 1


ZEROS = {f"{name}.txt": bytes(1 << 20) for name in "ab"}


def bombs(folder: Path) -> Iterator[Path]:
    """Archives that unpack to a few hundred times their size."""
    for suffix in (suffix for suffix in ARCHIVES if suffix != ".tar"):
        yield pack(folder / f"bomb{suffix}", ZEROS)
    for suffix, packer in PACKERS.items():
        (folder / f"bomb{suffix}").write_bytes(packer(ZEROS["a.txt"] * 2))
        yield folder / f"bomb{suffix}"
    header = tarfile.TarInfo("long")  # its name is in the next block, of 2 MB
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    (folder / "name.tar.gz").write_bytes(gzip.compress(header.tobuf() + bytes(2 << 20)))
    yield folder / "name.tar.gz"


def test_no_archive_unpacks_to_more_than_it_may(
    tmp_path: Path, work: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "ALWAYS", 1 << 19)
    monkeypatch.setattr(source_module, "MOST_RATIO", 10)
    for bomb in bombs(tmp_path):
        message = refused(bomb, work)
        assert f"{bomb} unpacks to more than 0.0 GB, which is more than its size explains; add --trust" in message
        assert sum(path.stat().st_size for path in work.scratch.rglob("*")) <= (1 << 19)
    for bomb in bombs(tmp_path):
        if bomb.name != "name.tar.gz":
            with opened_source(str(bomb), (".txt",), nothing, work, trusted=True) as files:
                assert sum(len(block) for file in files for block in file.blocks()) == 2 << 20
    monkeypatch.setattr(source_module, "ALWAYS", 1 << 22)
    assert contents(pack(tmp_path / "small.zip", ZEROS), work) == ZEROS  # too small to hurt, whatever the ratio


def test_no_archive_unpacks_to_more_than_the_disk_has_room_for(
    tmp_path: Path, work: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 19))
    for bomb in bombs(tmp_path):
        assert "which is more than is free on the disk; add --trust-archive" in refused(bomb, work)
    assert contents(pack(tmp_path / "small.tar", FILES), work) == TEXTS


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_that_python_unpacks_at_once_are_refused(tmp_path: Path, work: WorkFolder, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.txt", b"one")
    assert "a.txt is not packed with deflate" in refused(tmp_path / "a.zip", work)
