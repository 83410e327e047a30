"""Properties that prepare_text, prepare_audio and prepare_music share."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.midi import write_midi
from waveletgpt.training import prepare_audio, prepare_music, prepare_text
from waveletgpt.training.data import Dataset, DatasetInfo
from waveletgpt.training.preparing import encoding, texts
from waveletgpt.training.preparing.composing import compose

MODULES = {"text": prepare_text, "audio": prepare_audio, "music": prepare_music}
SCRIPTS = Path(prepare_text.__file__).parent
N_FILES = 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each modality, with twelve valid files and an invalid one."""
    noise = np.random.default_rng(0)
    folders = {modality: tmp_path_factory.mktemp(modality) for modality in MODULES}
    for i in range(N_FILES):
        (folders["text"] / f"{i}.txt").write_text("".join(map(chr, noise.integers(97, 123, 2000))))
        soundfile.write(folders["audio"] / f"{i}.flac", noise.normal(0, 0.1, (30_000 + 999 * i, 2)), 44100)
        write_midi(folders["music"] / f"{i}.mid", compose(i, 5.0))
    (folders["text"] / "bad.txt").write_bytes(b"\xff")
    (folders["audio"] / "bad.wav").write_bytes(b"no sound")
    (folders["music"] / "bad.mid").write_bytes(b"no music")
    return folders


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the parts of texts so small that there are as many parts as files."""
    monkeypatch.setattr(texts, "PART", 2000)


def prepared(modality: str, source: Path, out: Path, workers: int = 0) -> DatasetInfo:
    module: Any = MODULES[modality]
    info: DatasetInfo = module.prepare(module.Config(source=str(source), out=out, workers=workers))
    return info


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def counted(monkeypatch: pytest.MonkeyPatch, stop_after: int | None) -> list[Any]:
    """A list that grows with each encoded target; KeyboardInterrupt is raised after `stop_after` targets."""
    done: list[Any] = []
    write = encoding._write

    def writing(function: Callable[..., None], job: encoding.FileJob[Any]) -> None:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        write(function, job)
        done.append(job.target)

    monkeypatch.setattr(encoding, "_write", writing)
    return done


@pytest.mark.parametrize(
    "modality", ["text", *(pytest.param(name, marks=pytest.mark.slow) for name in MODULES if name != "text")]
)
@pytest.mark.usefixtures("small_parts")
def test_the_result_depends_neither_on_processes_nor_on_interruptions(
    modality: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    """All files are equal to the byte, dataset.json included, and nothing is encoded twice."""
    info = prepared(modality, sources[modality], tmp_path / "alone")
    expected = contents(tmp_path / "alone")
    assert [skipped["file"][:4] for skipped in info.skipped] == ["bad."]
    prepared(modality, sources[modality], tmp_path / "spread", workers=2)
    assert contents(tmp_path / "spread") == expected

    runs: list[list[Any]] = []
    out = tmp_path / "interrupted"
    for stop_after in (0, 3, 1, 6, None):
        assert not out.exists()
        with pytest.MonkeyPatch.context() as patch:
            runs.append(counted(patch, stop_after))
            try:
                prepared(modality, sources[modality], out)
            except KeyboardInterrupt:
                assert stop_after is not None
    assert contents(out) == expected
    done = [target for run in runs for target in run]
    assert len(done) == len(set(done)) >= N_FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "interrupted", "spread"]


@pytest.mark.parametrize("modality", MODULES)
@pytest.mark.usefixtures("small_parts")
def test_what_was_made_from_other_files_or_settings_is_not_used(
    modality: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    """A file that has changed since an interrupted run is encoded again."""
    source = tmp_path / "source"
    source.mkdir()
    for path in sources[modality].iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        counted(patch, N_FILES - 1)
        prepared(modality, source, tmp_path / "out")
    first, second = (path for path in sorted(source.iterdir()) if path.stem in {"0", "1"})
    first.write_bytes(second.read_bytes())
    prepared(modality, source, tmp_path / "out")
    prepared(modality, source, tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_other_settings_make_other_samples(sources: dict[str, Path], tmp_path: Path) -> None:
    def configured(rate: int, out: Path) -> prepare_audio.Config:
        return prepare_audio.Config(source=str(sources["audio"]), out=out, sample_rate=rate, workers=0)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        counted(patch, 9)
        prepare_audio.prepare(configured(8000, tmp_path / "out"))
    prepare_audio.prepare(configured(11025, tmp_path / "out"))
    prepare_audio.prepare(configured(11025, tmp_path / "anew"))
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


@pytest.mark.parametrize("modality", MODULES)
def test_a_full_disk_is_no_fault_of_the_file(
    modality: str, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends the run, and existing data is kept."""
    prepared(modality, sources[modality], tmp_path / "out")
    before = contents(tmp_path / "out")
    full = OSError(28, "No space left on device")

    def refuse(*_: Any) -> None:
        raise full

    for place in ("_write_ids", "_ids_between"):
        with monkeypatch.context() as patch:
            patch.setattr(encoding, place, refuse)
            patch.setattr(texts, "_write_ids" if place == "_write_ids" else "_write_facts", refuse)
            with pytest.raises(OSError, match="No space left"):
                prepared(modality, sources[modality], tmp_path / "out")
        assert contents(tmp_path / "out") == before


# The command lines.


@pytest.fixture
def long_source(tmp_path: Path) -> Path:
    """Recordings that take some seconds to encode."""
    (tmp_path / "long").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * 44100).astype(np.float32)
    for i in range(40):
        soundfile.write(tmp_path / "long" / f"{i}.wav", np.roll(noise, 1000 * i), 44100)
    return tmp_path / "long"


def command(modality: str, source: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, str(SCRIPTS / f"prepare_{modality}.py"), "--source", str(source), "--out", str(out), *more]


@pytest.fixture
def under_way(long_source: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A running preparation with two processes that has encoded some pieces, but not all."""
    with subprocess.Popen(
        command("audio", long_source, tmp_path / "out", "--workers", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        pieces = tmp_path / "out.unfinished" / "pieces"
        while not pieces.exists() or len([path for path in pieces.iterdir() if path.name[0] != "."]) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        yield process
        process.kill()


def check_that_the_rest_is_done(long_source: Path, tmp_path: Path) -> None:
    left = {path.name for path in (tmp_path / "out.unfinished" / "pieces").iterdir() if path.name[0] != "."}
    assert 3 <= len(left) < 40
    assert not (tmp_path / "out").exists()
    with pytest.MonkeyPatch.context() as patch:
        done = counted(patch, None)
        prepared("audio", long_source, tmp_path / "out")
        assert left.isdisjoint(path.name for path in done)
        assert len(done) + len(left) == 40
        prepared("audio", long_source, tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anew", "long", "out"]


@pytest.mark.slow
def test_a_killed_preparation_continues_where_it_stopped(
    under_way: subprocess.Popen[str], long_source: Path, tmp_path: Path
) -> None:
    under_way.kill()
    assert under_way.communicate() == ("", "")
    time.sleep(1)  # gives its processes time to notice
    check_that_the_rest_is_done(long_source, tmp_path)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_at_once_and_says_how_to_go_on(
    under_way: subprocess.Popen[str], long_source: Path, tmp_path: Path
) -> None:
    os.killpg(under_way.pid, signal.SIGINT)  # a terminal sends it to every process
    shown, errors = under_way.communicate(timeout=20)
    assert under_way.returncode == 130
    assert shown == ""
    assert errors.splitlines() == [
        f"{tmp_path}/out.unfinished keeps the finished part; run the same command again to continue",
        "error: interrupted",
    ]
    check_that_the_rest_is_done(long_source, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
def test_ctrl_c_is_quiet_while_processes_start(long_source: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("audio", long_source, tmp_path / "out", "--workers", "2"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 3:  # the third belongs to multiprocessing
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=20)[1] == "error: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["long"]


def test_a_password_in_a_url_is_not_written_down(tmp_path: Path) -> None:
    config = prepare_text.Config(source="https://me:secret@example.org/a/text.zip?b=@", out=tmp_path)
    assert config.provenance("", "")["origin"] == "https://example.org/a/text.zip?b=@"


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODULES)
def test_the_command_says_what_it_made_and_what_it_skipped(
    modality: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    """No library's warning appears in the output."""
    out = tmp_path / "out"
    ran = subprocess.run(command(modality, sources[modality], out), capture_output=True, text=True, check=True)
    assert re.search(r"out: .* train[,;] .* val[,;] .* test\n$", ran.stdout)
    assert len(ran.stdout.splitlines()) == 1
    assert len(ran.stderr.splitlines()) == 2
    assert ran.stderr.startswith("skipped 1 that cannot be read; dataset.json lists them all:\n  bad.")
    assert Dataset.open(out).info.skipped[0]["why"] in ran.stderr


def test_many_that_were_skipped_are_not_all_listed(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in sources["text"].glob("[0-4].txt"):
        (source / path.name).write_bytes(path.read_bytes())
    for i in range(8):
        (source / f"bad {i}.txt").write_bytes(b"\xff")
    monkeypatch.setattr(sys, "argv", command("text", source, tmp_path / "out", "--workers", "0")[1:])
    prepare_text.main()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("skipped 8 ")
    assert lines[-1] == "  ... and 3 more"
    assert len(Dataset.open(tmp_path / "out").info.skipped) == 8


@pytest.mark.parametrize("module", MODULES.values())
def test_the_commands_tell_what_is_wrong_in_one_line(
    module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ["--source", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/out"]
    for arguments, message in (
        (good, "does not exist"),
        (good[:2], "--out"),
        ([*good, "--colour", "red"], "--colour"),
        ([*good, "--name"], "--name"),
        ([*good, "--workers", "-1"], "--workers is -1"),
    ):
        monkeypatch.setattr(sys, "argv", ["prepare.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(module.main)
        assert stop.value.code == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert len(shown.err.splitlines()) == 1
        assert message in shown.err
    assert list(tmp_path.iterdir()) == []


def test_two_preparations_of_one_directory_do_not_meet(sources: dict[str, Path], tmp_path: Path) -> None:
    def second(_: Path) -> Any:
        with pytest.raises(InputError, match="is being prepared already"):
            prepared("audio", sources["audio"], tmp_path / "out")
        raise InputError("tried")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_audio, "encode_recording", lambda path, **_: second(path))
        with pytest.raises(InputError, match="tried"):
            prepared("audio", sources["audio"], tmp_path / "out")
    prepared("audio", sources["audio"], tmp_path / "out")
