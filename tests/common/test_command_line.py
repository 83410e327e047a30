import sys
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Literal

import pytest

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command


@dataclass(frozen=True)
class Inner:
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"--inner.size is {self.size}; it must be 1 or more, whatever {'x' * 100} says")


@dataclass(frozen=True)
class Settings:
    """Settings to try."""

    out: Path
    """Where to write."""
    source: str
    count: int = 3
    kind: Literal["red", "green"] = "red"
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"--count is {self.count}; it must be 0 or more")


GOOD = ["--out", "x", "--source", "y"]


def test_good_settings_are_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(Settings, args=[*GOOD, "--inner.size", "2"]) == Settings(Path("x"), "y", inner=Inner(2))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "-2"], "--count is -2; it must be 0 or more"),
        (["--inner.size", "0"], f"--inner.size is 0; it must be 1 or more, whatever {'x' * 100} says"),
        (["--count", "three"], "Error parsing --count: invalid literal for int() with base 10: 'three'"),
        (["--kind", "blue"], "invalid choice 'blue' for argument '--kind'. Expected one of ('red', 'green')"),
        (["--coutn", "1"], "Unrecognized options: --coutn, 1 Perhaps you meant: --count INT"),
        (["--count"], "Missing value for argument '--count'"),
        (["stray"], "Unrecognized options: stray"),
    ],
)
def test_bad_settings_are_refused_in_one_line(
    arguments: list[str],
    message: str,
    width: int,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error is one line at any terminal width, with colours, in Unicode and in ASCII."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), encoding))
    with pytest.raises(InputError) as refusal:
        parse(Settings, args=[*GOOD, *arguments])
    line = str(refusal.value)
    assert line.startswith(message)
    assert len(line.splitlines()) == 1
    assert not set(line) & set("│╭╮╰╯─\x1b")
    assert "---" not in line


def test_a_command_prints_the_line_and_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--count", "-2"], ["--count", "three"], ["--colour"]):
        with pytest.raises(SystemExit) as stop:
            run_command(lambda arguments=arguments: print(parse(Settings, args=[*GOOD, *arguments])))
        assert stop.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_missing_settings_are_named_with_what_they_are() -> None:
    with pytest.raises(InputError, match="--out PATH Where to write") as refusal:
        parse(Settings, args=[])
    assert "--source STR" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_help_is_as_good_as_tyro_s(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--help"])
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: print(parse(Settings, description="A trial.")))
    assert not stop.value.code
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("A trial.", "--out PATH", "Where to write.", "--kind {red,green}", "(default: 3)"):
        assert part in out
