"""Who may use the page and its endpoints, and how much of them. Imports nothing heavy: the command line reads it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES

AUTH_VARIABLE = "WAVELETGPT_AUTH"
"""Environment variable that takes the place of --auth, whose value other users of the machine can see."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for, on the page and of the endpoints."""

    max_length: dict[str, float] = field(default_factory=dict)
    """Longest results by kind, in characters of text, seconds of audio and events of music, such as: text 2000 audio 5
    music 2000. Kinds that are not named keep these."""
    max_variations: int = 4
    """Most results of each checkpoint at a time."""
    max_upload: float = 50
    """Largest upload, in MB."""
    max_duration: float = 3600
    """Longest audio or MIDI file, in seconds."""
    places: int = 32
    """Places in the queue of each kind of data."""

    def __post_init__(self) -> None:
        for kind, length in self.max_length.items():
            if kind not in MODALITIES:
                raise InputError(f"--max-length names {kind!r}; it must be one of {', '.join(MODALITIES)}")
            if not 0 < length < float("inf"):
                raise InputError(f"--max-length of {kind} is {length:g} {MODALITIES[kind].unit}; it must be above 0")
        for name, highest in (("max_variations", 64), ("max_upload", 4096), ("max_duration", 86_400), ("places", 100)):
            value, lowest = getattr(self, name), 1
            if not lowest <= value <= highest:
                raise InputError(f"--{name.replace('_', '-')} is {value:g}; it must be from {lowest} to {highest:,}")

    @property
    def upload_bytes(self) -> int:
        """`max_upload` in bytes."""
        return round(self.max_upload * 1024 * 1024)


def read_logins(auth: str | None) -> list[tuple[str, str]]:
    """The names and passwords that open the page; none if it is open to all.

    Args:
        auth: `USER:PASSWORD`, or a file with such lines; None for what the environment variable `WAVELETGPT_AUTH` has.

    Raises:
        InputError: it is neither.
    """
    given = os.environ.get(AUTH_VARIABLE) if auth is None else auth
    if given is None:
        return []
    path = Path(given)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [given]
    except (OSError, UnicodeDecodeError):
        raise InputError(f"--auth: {given} cannot be read; give a text file with lines USER:PASSWORD") from None
    logins = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        user, colon, password = line.strip().partition(":")
        if not (user and colon and password):
            where = f"line {number} of {given}" if path.is_file() else "it"
            raise InputError(f"--auth takes USER:PASSWORD, or a file with such lines; {where} is something else")
        logins.append((user, password))
    if not logins:
        raise InputError(f"--auth: {given or 'it'} is empty; give USER:PASSWORD, or a file with such lines")
    return logins
