from pathlib import Path

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.work import work_folder


def test_nothing_stays_of_work_that_is_finished(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out") as work:
        assert work.folder == tmp_path / "out.unfinished"
        (work.pieces / "one").write_text("1")
        (work.scratch / "two").write_text("2")
    assert list(tmp_path.iterdir()) == []


def test_results_stay_of_work_that_failed_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "out") as work:
        (work.pieces / "one").write_text("1")
        (work.scratch / "two").write_text("2")
        raise ZeroDivisionError
    assert [path.name for path in work.folder.rglob("*") if path.is_file()] == ["one"]
    with work_folder(tmp_path / "out") as work:
        assert (work.pieces / "one").read_text() == "1"


def test_work_that_failed_before_it_had_results_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path / "out") as work:
        (work.scratch / "two").write_text("2")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / "out.unfinished" / "pieces").mkdir(parents=True)
    (tmp_path / "out.unfinished" / "scratch").mkdir()
    for folder in (tmp_path, tmp_path / "out.unfinished" / "pieces"):
        (folder / ".partial-x").mkdir()
        (folder / ".partial-x" / "half").write_text("half")
    for name in ("pieces/one", "scratch/two"):
        (tmp_path / "out.unfinished" / name).write_text(name)
    with work_folder(tmp_path / "out") as work:
        assert [path.name for path in work.pieces.iterdir()] == ["one"]
        assert list(work.scratch.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_files_of_somebody_else_stay(tmp_path: Path) -> None:
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "holiday.jpg").write_text("dear to me")
    with work_folder(tmp_path / "out") as work:
        (work.pieces / "one").write_text("1")
    assert [path.name for path in work.folder.iterdir()] == ["holiday.jpg"]


def test_one_process_works_at_a_time(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out") as work:
        (work.pieces / "one").write_text("1")
        with pytest.raises(InputError, match="is being prepared already"), work_folder(tmp_path / "out"):
            pass
        assert (work.pieces / "one").exists()


def test_the_folder_lies_beside_a_directory_given_as_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with work_folder(Path()) as work:
        assert work.folder == tmp_path / "here.unfinished"
