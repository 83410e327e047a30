"""Reads Standard MIDI Files (SMF 1.0) byte by byte. A damaged file is an error here, and never reaches a library."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, CHANNEL_PRESSURE = 0x8, 0x9, 0xB, 0xC, 0xD
SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF
END_OF_TRACK, TEMPO = 0x2F, 0x51
META_LENGTHS = {END_OF_TRACK: 0, TEMPO: 3}  # bytes of the meta events that matter here
HEADER_BYTES = 6
MAX_TICK = 1 << 39  # such a time in microseconds fits in 63 bits, and so does a packed event

Array = NDArray[np.int64]


@dataclass(frozen=True)
class MidiFile:
    """Notes, controls and tempos of all tracks, by time. Events with equal times are in the order of the file.

    Shapes: N messages, T tracks, M tempos.
    """

    format: int
    """0: one track; 1: tracks that play together; 2: tracks that are separate patterns."""
    division: int
    """Ticks per quarter note; from 32,768 up, a code for parts of an SMPTE frame."""
    tick: Array
    """(N,) time of each message."""
    track: Array
    """(N,) 0 to T - 1."""
    kind: Array
    """(N,) NOTE_OFF, NOTE_ON or CONTROL."""
    channel: Array
    """(N,) 0 to 15."""
    data: Array
    """(2, N) pitch and velocity, or controller and value, 0 to 127."""
    track_end: Array
    """(T,) tick at which each track ends."""
    tempo_tick: Array
    """(M,) time of each change of tempo."""
    tempo: Array
    """(M,) microseconds per quarter note, above 0."""

    @property
    def struck(self) -> NDArray[np.bool_]:
        """(N,) whether the message strikes a key. With velocity 0 it releases the key."""
        return np.asarray((self.kind == NOTE_ON) & (self.data[1] > 0))


def parse(data: bytes) -> MidiFile:
    """Parse a Standard MIDI File.

    Chunks of unknown kinds are skipped, and so is all that follows the last track. A channel's status stays valid after
    meta and system events, because files rely on that.

    Args:
        data: a whole file.

    Raises:
        ValueError: the file is damaged. The message says how.
    """
    chunks = _chunks(data)
    name, header = next(chunks, (b"", b""))
    if name != b"MThd" or len(header) < HEADER_BYTES:
        raise ValueError("it has no header")
    midi_format, n_tracks, division = (int.from_bytes(header[at : at + 2]) for at in (0, 2, 4))
    messages, tempos = array("q"), array("q")
    starts, ends = [0], list[int]()  # of each track: its first index in `messages`, its last tick
    while len(ends) < n_tracks:
        name, body = next(chunks, (b"", b""))
        if not name:
            raise ValueError(f"it has {len(ends)} of its {n_tracks} tracks")
        if name == b"MTrk":
            try:
                ends.append(_parse_track(body, messages, tempos))
            except IndexError:
                raise ValueError(f"track {len(ends) + 1} ends in the middle of an event") from None
            except ValueError as error:
                raise ValueError(f"{error} in track {len(ends) + 1}") from None
            starts.append(len(messages))
    packed, changes = np.array(messages, np.int64), np.array(tempos, np.int64)
    order = np.argsort(packed >> 22, kind="stable")
    packed = packed[order]
    changes = changes[np.argsort(changes >> 24, kind="stable")]
    return MidiFile(
        format=midi_format,
        division=division,
        tick=packed >> 22,
        track=np.repeat(np.arange(n_tracks), np.diff(starts))[order],
        kind=packed >> 18 & 15,
        channel=packed >> 14 & 15,
        data=np.stack([packed >> 7 & 127, packed & 127]),
        track_end=np.array(ends, np.int64),
        tempo_tick=changes >> 24,
        tempo=changes & 0xFFFFFF,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk. A remainder too short for a chunk is skipped."""
    start = 0
    while len(data) - start >= 8:
        name, length = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8])
        start += 8 + length
        if start > len(data):
            raise ValueError("it ends in the middle of a track")
        yield name, data[start - length : start]


def _parse_track(track: bytes, messages: "array[int]", tempos: "array[int]") -> int:
    """Append the notes and controls of a track to `messages` (tick << 22 | status << 14 | data), and its `tempos`.

    A tempo is tick << 24 | microseconds per quarter note.

    Returns:
        The tick at which the track ends.

    Raises:
        IndexError: the track ends in the middle of an event.
        ValueError: a byte has no meaning in its place.
    """
    tick = status = at = 0
    while at < len(track):
        delta = track[at]
        at += 1
        if delta >= 0x80:
            delta, at = _variable_length(track, at - 1)
        tick += delta
        if tick >= MAX_TICK:
            raise ValueError(f"a time of {tick} ticks")
        byte = track[at]
        if byte >= 0xF0:
            kind, body, at = _system_event(track, at)
            if kind == TEMPO:
                tempos.append(tick << 24 | int.from_bytes(body))
            if kind == END_OF_TRACK:
                break
            continue
        if byte >= 0x80:
            status = byte
            at += 1
        elif not status:
            raise ValueError("data before the first status byte")
        kind = status >> 4
        first = track[at]
        second = 0
        at += 1
        if kind not in (PROGRAM, CHANNEL_PRESSURE):
            second = track[at]
            at += 1
        if first >= 0x80 or second >= 0x80:
            raise ValueError(f"a data byte of {max(first, second)}, above 127,")
        if kind in (NOTE_OFF, NOTE_ON, CONTROL):
            messages.append(tick << 22 | status << 14 | first << 7 | second)
    return tick


def _system_event(track: bytes, at: int) -> tuple[int, bytes, int]:
    """Kind, body and end of the event at `at`. The kind is that of a meta event, or SYSEX, or ESCAPE."""
    kind = track[at]
    if kind not in (SYSEX, ESCAPE, META):
        raise ValueError(f"a status byte {kind:02X}, which files do not have,")
    if kind == META:
        at += 1
        kind = track[at]
        if kind >= 0x80:
            raise ValueError(f"a meta event {kind:02X}, above 7F,")
    length, start = _variable_length(track, at + 1)
    end = start + length
    if end > len(track):
        raise IndexError
    if META_LENGTHS.get(kind, length) != length:
        raise ValueError(f"a meta event {kind:02X} of {length} bytes instead of {META_LENGTHS[kind]}")
    body = track[start:end]
    if kind == TEMPO and not any(body):
        raise ValueError("a tempo of 0 microseconds per quarter note")
    return kind, body, end


def _variable_length(track: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, 7 bits in each of up to 4 bytes, and the index after it."""
    value = 0
    for i in range(at, at + 4):
        value = value << 7 | track[i] & 0x7F
        if track[i] < 0x80:
            return value, i + 1
    raise ValueError("a time or length of more than 4 bytes")
