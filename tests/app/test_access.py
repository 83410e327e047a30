"""Who may use the page, and how much of it: settings that cannot be are refused in one line."""

from pathlib import Path
from typing import Any

import pytest

from waveletgpt.app.access import AUTH_VARIABLE, Limits, read_logins
from waveletgpt.common.errors import InputError

INFINITY, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"places": 0}, "--places is 0; it must be from 1 to 100"),
        ({"places": 101}, "--places is 101; it must be from 1 to 100"),
        ({"max_variations": 65}, "--max-variations is 65; it must be from 1 to 64"),
        ({"max_upload": NAN}, "--max-upload is nan; it must be from 1 to 4,096"),
        ({"max_duration": INFINITY}, "--max-duration is inf; it must be from 1 to 86,400"),
        ({"max_length": {"video": 3}}, "--max-length names 'video'; it must be one of text, audio, music"),
        ({"max_length": {"audio": 0}}, "--max-length of audio is 0 seconds; it must be above 0"),
        ({"max_length": {"text": NAN}}, "--max-length of text is nan characters; it must be above 0"),
    ],
)
def test_limits_that_cannot_be(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Limits(**given)
    assert str(caught.value) == told


def test_logins_come_from_the_command_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AUTH_VARIABLE, raising=False)
    assert read_logins(None) == []
    assert read_logins("ann:a:b") == [("ann", "a:b")]
    path = tmp_path / "logins"
    path.write_text("ann:secret\n\nben:hidden\n")
    assert read_logins(str(path)) == [("ann", "secret"), ("ben", "hidden")]
    monkeypatch.setenv(AUTH_VARIABLE, "eve:known")
    assert read_logins(None) == [("eve", "known")] and read_logins("ann:x") == [("ann", "x")]


@pytest.mark.parametrize("given", ["", "ann", "ann:", ":secret", "nowhere/logins"])
def test_what_is_no_login(given: str) -> None:
    with pytest.raises(InputError, match=r"^--auth.* USER:PASSWORD, or a file with such lines") as caught:
        read_logins(given)
    assert "\n" not in str(caught.value)


def test_a_file_without_logins_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    for content, told in ((b"ann:x\nben", f"line 2 of {path}"), (b"\n", "is empty"), (b"\xff\xfe", "cannot be read")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=told):
            read_logins(str(path))
