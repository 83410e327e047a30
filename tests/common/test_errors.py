"""The exit status and the error message of a command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from waveletgpt.common.errors import DiskFullError, InputError, run_command


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("too\nbad"), 2, "error: too bad\n"),
        (DiskFullError("a.txt cannot be written"), 1, "error: a.txt cannot be written\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (MemoryError(), 1, "error: there is not enough memory for this; choose smaller sizes\n"),
        (
            RuntimeError("can't allocate memory\nat"),
            1,
            "error: there is not enough memory for this; choose smaller sizes\n",
        ),
    ],
)
def test_an_error_is_one_line(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(raising(error))
    assert stop.value.code == status
    assert capsys.readouterr().err == line


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        run_command(raising(RuntimeError("something else")))


@pytest.mark.parametrize(("rank", "line"), [("0", "error: too bad\n"), ("1", "")])
def test_of_the_processes_of_a_machine_the_first_speaks(
    tmp_path: Path, rank: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first process prints the error, and torchrun shows that line as the cause."""
    monkeypatch.setattr("waveletgpt.common.errors.time.sleep", lambda _: None)
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", f"{tmp_path / 'error.json'}")
    with pytest.raises(SystemExit):
        run_command(raising(InputError("too bad")))
    assert capsys.readouterr().err == line
    assert json.loads((tmp_path / "error.json").read_text())["message"]["message"] == "error: too bad"
