"""The file of votes, what is counted, and `waveletgpt votes`."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from waveletgpt.app import votes
from waveletgpt.app.checkpoints import find_checkpoints
from waveletgpt.app.commands import counting
from waveletgpt.app.commands.options import Votes
from waveletgpt.app.votes import Tally, Vote, add_vote, as_csv, read_votes, tally, wilson
from waveletgpt.common.errors import DiskFullError, InputError

A, B = "0123456789abcdef", "fedcba9876543210"
VOTE = Vote("2026-11-30T12:00:00+00:00", "text", "plain", A, 'wave, "1"', B, 7, "wgpt", 'wave, "1"', "plain", 1.5, 2.0)
SWAPPED = replace(VOTE, checkpoint_a="renamed", digest_a=B, checkpoint_b="plain", digest_b=A, preferred="renamed")


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (9, 14), (7, 14), (50, 51), (300, 1000)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    known = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((known.low, known.high), abs=1e-6)


def test_without_a_preference_nothing_is_known() -> None:
    assert Tally(0, 0, 3).interval == (0, 1)


def test_votes_are_counted_by_digest_whichever_was_called_a() -> None:
    equal, other = replace(VOTE, preferred=""), replace(VOTE, digest_b="0" * 16)
    assert tally([VOTE, SWAPPED, equal, other], A, B) == Tally(0, 2, 1)
    assert tally([VOTE, SWAPPED, equal, other], B, A) == Tally(2, 0, 1)


def test_what_is_written_is_read_and_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "votes.csv"
    assert read_votes(path) == []
    add_vote(path, VOTE)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").rstrip())  # as another program may save it
    before = path.read_bytes()
    add_vote(path, SWAPPED)
    assert path.read_bytes().startswith(before) and read_votes(path) == [VOTE, SWAPPED]
    assert [one.name for one in path.parent.iterdir()] == ["votes.csv"]


def test_votes_of_many_at_once_are_all_kept(tmp_path: Path) -> None:
    given = [replace(VOTE, seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda vote: add_vote(tmp_path / "votes.csv", vote), given))
    assert sorted(vote.seed for vote in read_votes(tmp_path / "votes.csv")) == list(range(24))


WHOLE = as_csv([VOTE]).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "byte 0 cannot be read"),
        (b"a,b\n1,2\n", "line 1 cannot be read: its columns are others"),
        (WHOLE + b"half a li", "line 3 cannot be read: it has 1 columns, not 12"),
        (WHOLE[:-20], "line 2 cannot be read"),
        (WHOLE + b"\0" + WHOLE, "line 3 cannot be read"),
        (WHOLE + b'"' + b"x" * 200_000, "cannot be read"),
        (WHOLE.replace(b",7,", b",seven,"), "its seed is 'seven'"),
        (WHOLE.replace(b",1.5,", b",nan,"), "a number is out of its bounds"),
        (WHOLE.replace(A.encode(), b"?"), "it does not name two checkpoints"),
        (WHOLE.replace(A.encode(), B.encode()), "it does not name two checkpoints"),
        (WHOLE.replace(b",plain,1.5", b",third,1.5"), "it names a third checkpoint"),
        (WHOLE.replace(b"2026-11", b"2026-13"), "line 2 cannot be read"),
    ],
)
def test_a_damaged_file_is_one_line_and_stays_as_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told) as refusal:
        add_vote(path, VOTE)
    assert str(path) in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="is not a file"):
        add_vote(tmp_path, VOTE)


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "votes.csv"
    add_vote(path, VOTE)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(DiskFullError, match="what was there is kept"):
        patch.setattr("waveletgpt.common.files._flush", full)
        add_vote(path, SWAPPED)
    assert read_votes(path) == [VOTE]


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "PATIENCE", 0.1)
    with votes.lock(tmp_path) as free:
        if not free:
            pytest.skip("there are no locks here")
        with pytest.raises(InputError, match=r"votes\.csv is in use by another program"):
            add_vote(tmp_path / "votes.csv", VOTE)


def test_the_file_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert votes.default_path() == tmp_path / "waveletgpt" / "votes.csv"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # which the XDG specification says to ignore
    monkeypatch.setenv("HOME", "/home/ann")
    assert votes.default_path() == Path("/home/ann/.local/share/waveletgpt/votes.csv")


def test_the_command_prints_a_row_for_each_pair(
    tmp_path: Path, tiny_checkpoints: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "votes.csv"
    monkeypatch.setenv("COLUMNS", "80")
    a, b = (one for one in find_checkpoints(tiny_checkpoints) if one.info.modality == "music")
    names = {"checkpoint_a": a.name, "checkpoint_b": b.name, "side_1": a.name}
    music = replace(VOTE, modality="music", digest_a=a.digest, digest_b=b.digest, preferred=b.name, **names)
    for vote in (VOTE, music, replace(music, preferred=""), music, replace(music, preferred=a.name)):
        add_vote(path, vote)
    counting.run(Votes(path, tiny_checkpoints))
    told = " ".join(capsys.readouterr().out.split())
    assert 'text plain 1 0 100% 21 to 100 % not known wave, "1"' in told
    assert "music music-baseline 4 1 67% 21 to 94 % +0.000 music-haar nats per event" in told


def test_the_command_says_where_no_votes_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="does not exist"):
        counting.run(Votes(tmp_path / "votes.csv"))
    (tmp_path / "votes.csv").touch()
    counting.run(Votes(tmp_path / "votes.csv"))
    assert "There are no votes in" in capsys.readouterr().out
