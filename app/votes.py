"""The votes of the blind test: a CSV file on this machine, and what they say about a pair of checkpoints."""

import csv
import io
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path

from waveletgpt.common.errors import InputError, quoted
from waveletgpt.common.files import lock, remove_leftovers, write_text

Z = 1.959964
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""
PATIENCE = 10.0
"""Seconds to wait for another writer."""


@dataclass(frozen=True)
class Vote:
    """One line of the file; the fields are its columns."""

    time: str
    """UTC, as in ISO 8601."""
    modality: str
    checkpoint_a: str
    digest_a: str
    checkpoint_b: str
    digest_b: str
    seed: int
    recipe: str
    """Makes both results again, that of A first."""
    preferred: str
    """Name of a checkpoint; empty for no difference."""
    side_1: str
    """Name of the checkpoint whose result was on side 1."""
    seconds_1: float
    """For how long the new part of side 1 was heard, or side 1 read."""
    seconds_2: float

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.time)
        names = (self.checkpoint_a, self.checkpoint_b)
        digests = {digest for digest in self.digests if re.fullmatch("[0-9a-f]{16}", digest)}
        if not self.modality or not all(names) or len(digests) != 2:
            raise ValueError("it does not name two checkpoints")
        if self.side_1 not in names or self.preferred not in ("", *names):
            raise ValueError("it names a third checkpoint")
        if not all(0 <= one < math.inf for one in (self.seed, self.seconds_1, self.seconds_2)):
            raise ValueError("a number is out of its bounds")

    @property
    def digests(self) -> tuple[str, str]:
        """Of A and B."""
        return self.digest_a, self.digest_b


HEADER = [field.name for field in fields(Vote)]


@dataclass(frozen=True)
class Tally:
    """How many votes prefer which checkpoint of a pair."""

    for_a: int
    for_b: int
    undecided: int

    @property
    def decided(self) -> int:
        """Votes with a preference."""
        return self.for_a + self.for_b

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share that prefers B."""
        return wilson(self.for_b, self.decided)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a binomial proportion (Wilson 1927), which is sane for few trials too; 0 to 1 for none."""
    if not trials:
        return 0.0, 1.0
    share, spread = successes / trials, Z * Z / trials
    middle = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def tally(votes: Sequence[Vote], digest_a: str, digest_b: str) -> Tally:
    """Count the votes on two checkpoints, whichever of them was called A."""
    counts = {digest_a: 0, digest_b: 0, "": 0}
    for vote in votes:
        if {*vote.digests} == {digest_a, digest_b}:
            of = {vote.checkpoint_a: vote.digest_a, vote.checkpoint_b: vote.digest_b, "": ""}
            counts[of[vote.preferred]] += 1
    return Tally(counts[digest_a], counts[digest_b], counts[""])


def default_path() -> Path:
    """The file in the user's data folder. Raises InputError if there is no such folder."""
    given = os.environ.get("XDG_DATA_HOME", "")
    try:
        home = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError:
        raise InputError("there is no home directory for the votes; name a file with --votes") from None
    return home / "waveletgpt" / "votes.csv"


def read_votes(path: Path) -> list[Vote]:
    """The votes of a file; none if there is no file. Raises InputError if something else is in it."""
    return _parsed(path, _text(path))


def add_vote(path: Path, vote: Vote) -> None:
    """Add a vote at the end of a file. What is there stays, byte for byte.

    Raises:
        InputError: the file holds something else, or somebody else writes to its folder for long.
        OSError: the file cannot be written; what was there is kept.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        remove_leftovers(path.parent)
        text = _text(path)
        _parsed(path, text)
        text += "\n" if text and not text.endswith("\n") else ""
        write_text(path, (text or as_csv([])) + as_csv([vote]).partition("\n")[2])


def as_csv(votes: Sequence[Vote]) -> str:
    """Votes with a header, as in the file."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([HEADER, *map(astuple, votes)])
    return lines.getvalue()


def _text(path: Path) -> str:
    try:
        if not path.exists():
            return ""
        if not path.is_file():
            raise InputError(f"{path} is not a file; give a CSV file for the votes")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a file of votes (byte {error.start} cannot be read); move it away") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def _parsed(path: Path, text: str) -> list[Vote]:
    if not text:
        return []
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [*_votes(rows)]
    except (ValueError, csv.Error) as error:
        line = f"line {max(1, rows.line_num)} cannot be read: {error}"
        raise InputError(f"{path} is not a whole file of votes ({line}); mend it or move it away") from None


def _votes(rows: Iterator[list[str]]) -> Iterator[Vote]:
    if next(rows) != HEADER:
        raise ValueError("its columns are others")
    yield from map(_vote, rows)


def _vote(row: list[str]) -> Vote:
    if len(row) != len(HEADER):
        raise ValueError(f"it has {len(row)} columns, not {len(HEADER)}")
    *texts, seconds_1, seconds_2 = row
    time, modality, a, digest_a, b, digest_b, seed, recipe, preferred, side_1 = texts
    if not re.fullmatch("[0-9]{1,20}", seed):
        raise ValueError(f"its seed is {quoted(seed)}")
    numbers = float(seconds_1), float(seconds_2)
    return Vote(time, modality, a, digest_a, b, digest_b, int(seed), recipe, preferred, side_1, *numbers)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file's folder. Raises InputError if somebody else keeps it for long."""
    until = time.monotonic() + PATIENCE
    while True:
        with lock(path.parent) as free:
            if free is not False:
                yield
                return
        if time.monotonic() > until:
            raise InputError(f"{path} is in use by another program; try again later")
        time.sleep(0.02)
