"""Finds the streams in an audio file: MP3s or Ogg streams that were joined, and junk around them.

libsndfile reads one stream and believes what its first frame tells about its length. So an MP3 whose bit rate varies is
cut by an estimate, and of joined streams only the first is read.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from io import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import Any

import soundfile

from waveletgpt.common.errors import InputError

FORMATS = "a WAV, FLAC, OGG or MP3 file"
CORRUPT = f"corrupt, or not {FORMATS}"
JUNK = 1 << 20  # bytes before an MP3's first frame
OVERSTATED = 64  # the ratio of the highest to the lowest bit rate is 40
ID3V1 = 128  # bytes at the end of a file, where mpg123 looks for a tag
TOLERANCE = 2  # frames; encoders do not agree on whether to count the header's own frame
OGG_CODECS = {b"\x7fFLAC": "FLAC", b"Speex": "Speex", b"\x80theora": "video"}
"""The first bytes of a stream that libsndfile does not read."""


@dataclass(frozen=True)
class Segment:
    """One stream of an audio file."""

    path: Path
    start: int = 0
    """Byte where it begins."""
    stop: int | None = None
    """Byte where it ends; None at the end of the file."""
    samples: int | None = None
    """Its length per channel if that was counted, because the stream itself does not tell it."""
    skipped: int = 0
    """Samples per channel at its beginning that are not wanted."""
    wanted: int | None = None
    """Samples per channel from its beginning after which the rest is not wanted; None if all are."""

    @contextmanager
    def opened(self) -> Iterator[soundfile.SoundFile]:
        """The stream as a file of libsndfile. Raises SoundFileError or OSError if it cannot be read."""
        with self.path.open("rb") as raw:
            if not self.start and self.stop is None and self.samples is None:
                # A descriptor has no suffix, from which soundfile would guess the format.
                with _SequentialFile(raw.fileno(), closefd=False) as file:
                    yield file
            else:
                stop = os.fstat(raw.fileno()).st_size if self.stop is None else self.stop
                with _SequentialFile(_Window(raw, self.start, stop, OVERSTATED if self.samples else 1)) as file:
                    yield file


def find_segments(path: Path) -> list[Segment]:
    """The streams of an audio file, in their order.

    Raises:
        InputError: it is no audio, is cut off, or has another codec than those that can be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise InputError(CORRUPT)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            seems_mp3 = data[:3] == b"ID3" or _frame_at(data, 0) is not None
            if seems_mp3 and (segments := _mp3_segments(path, data)):
                return segments
            try:
                with Segment(path).opened():
                    pass
            except soundfile.SoundFileError as error:
                if data[:4] != b"OggS" and not seems_mp3 and (segments := _mp3_segments(path, data)):
                    return segments
                raise InputError(_refusal(data)) from error
            return [Segment(path, *link) for link in _ogg_links(data)] if data[:4] == b"OggS" else [Segment(path)]


def first_part(segments: Sequence[Segment], seconds: float) -> list[Segment]:
    """What holds the first `seconds` of the segments of a file, at least one sample."""
    chosen: list[Segment] = []
    for segment in segments:
        with segment.opened() as file:
            rate, length = int(file.samplerate), segment.samples or int(file.frames)
        chosen.append(replace(segment, wanted=max(1, round(seconds * rate))))
        seconds -= length / rate
        if seconds <= 0:
            break
    return chosen


def last_part(segments: Sequence[Segment], seconds: float) -> list[Segment]:
    """What holds the last `seconds` of the segments of a file, to the next whole second."""
    chosen: list[Segment] = []
    for segment in reversed(segments):
        with segment.opened() as file:
            rate, length = int(file.samplerate), segment.samples or int(file.frames)
            length = min(length, segment.wanted or length)
            surplus = int(length / rate - seconds) * rate
            skipped = surplus if surplus > 0 and _reaches(file, surplus) else 0
        chosen.insert(0, replace(segment, skipped=skipped))
        seconds -= length / rate
        if seconds <= 0:
            break
    return chosen


def _reaches(file: soundfile.SoundFile, position: int) -> bool:
    """Whether there are samples at a position. A header may claim more than there are."""
    try:
        file.seek(position)
        return len(file.read(1)) == 1
    except soundfile.SoundFileError:
        return False


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """An audio file that is only read forward.

    soundfile seeks after each block of a seekable file, and an MP3 decoder clicks after a seek.
    """

    def seekable(self) -> bool:
        return False


class _Window:
    """Bytes of a file as a file of its own, which can claim to be `overstated` times as long.

    libsndfile reads an MP3 without a header up to its estimate, so the estimate must not be too short.
    """

    def __init__(self, raw: Any, start: int, stop: int, overstated: int) -> None:
        self.raw, self.start, self.size = raw, start, stop - start
        self.claimed, self.position = self.size * overstated, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + {SEEK_CUR: self.position, SEEK_END: self.claimed}.get(whence, 0)
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, count: int) -> bytes:
        if self.claimed > self.size and self.position >= self.claimed - ID3V1:  # no tag
            data = bytes(min(count, self.claimed - self.position))
        else:
            self.raw.seek(self.start + self.position)
            data = self.raw.read(max(0, min(count, self.size - self.position)))
        self.position += len(data)
        return data

    def write(self, _: bytes) -> int:
        raise OSError("an audio file is only read")


# Ogg: pages of 27 bytes, a table of up to 255 lengths, and as many bytes as these sum to (RFC 3533).


def _ogg_links(data: mmap.mmap) -> list[tuple[int, int]]:
    """First and last byte of each link of a chained Ogg file. A link begins with pages that begin its streams."""
    starts, begins, position = [], False, 0
    while position >= 0 and len(data) - position >= 27:
        before, begins = begins, bool(data[position + 5] & 2)
        if begins and not before:
            starts.append(position)
        table = data[position + 27 : position + 27 + data[position + 26]]
        position = data.find(b"OggS", position + 27 + len(table) + sum(table))
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def _refusal(data: mmap.mmap) -> str:
    """Why a file cannot be read."""
    packet = data[27 + data[26] :][:8] if data[:4] == b"OggS" and len(data) > 26 else b""
    codec = next((name for magic, name in OGG_CODECS.items() if packet.startswith(magic)), "")
    return f"OGG with {codec}; expected Vorbis or Opus in it, or FLAC in a file of its own" if codec else CORRUPT


# MP3: frames of a header and as many bytes as it tells (ISO 11172-3, 13818-3).

_MPEG1, _MPEG2 = 3, 2
_BIT_RATES = {  # kbit/s, by version and layer
    (_MPEG1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (_MPEG1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (_MPEG1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (_MPEG2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (_MPEG2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class _Frame:
    """What a frame's header tells."""

    stream: tuple[int, int, int, bool]
    """Version, layer, sample rate and whether it is mono: the same in all frames of a stream."""
    size: int
    """Bytes."""
    samples: int
    tag_at: int
    """Where a Xing header would be."""


@lru_cache(1 << 16)
def _frame(header: int) -> _Frame | None:
    """The frame with this header of 32 bits; None if it is none."""
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    index, rate, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    half, mono = version != _MPEG1, header >> 6 & 3 == 3
    hertz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = 1000 * _BIT_RATES[_MPEG2 if half else _MPEG1, min(layer, 2) if half else layer][index - 1]
    samples = {1: 384, 2: 1152, 3: 576 if half else 1152}[layer]
    slot = 4 if layer == 1 else 1
    size = (samples // 8 // slot * bits // hertz + padding) * slot
    side = (9 if mono else 17) if half else (17 if mono else 32)
    return _Frame((version, layer, hertz, mono), size, samples, 4 + side)


def _frame_at(data: mmap.mmap, position: int) -> _Frame | None:
    """The frame that begins at a position, if all of it is there."""
    frame = _frame(int.from_bytes(data[position : position + 4]))
    return frame if frame and position + frame.size <= len(data) else None


def _find_frame(data: mmap.mmap, position: int, stop: int) -> int:
    """Where the next frame begins that other frames of its stream, a tag or the end follow; -1 if none does."""
    while (position := data.find(b"\xff", position, stop)) >= 0:
        at, frame = position, _frame_at(data, position)
        for _ in range(3):
            if frame is None:
                break
            at += frame.size
            if at == len(data) or data[at : at + 3] == b"TAG":
                return position
            follower = _frame_at(data, at)
            frame = follower if follower and follower.stream == frame.stream else None
        if frame:
            return position
        position += 1
    return -1


@dataclass
class _Mp3Stream:
    """Frames that follow one another."""

    start: int
    frame: _Frame
    """The first."""
    told: int | None = None
    """The number of frames that a header tells; None if there is none."""
    body: int = 0
    """Byte of the first frame after the header."""
    stop: int = 0
    frames: int = 0
    """Without the header."""

    def segment(self, path: Path) -> Segment:
        """Raises InputError if it ends before what its header tells."""
        seconds = self.frame.samples / self.frame.stream[2]
        if self.told is not None and self.told > self.frames + TOLERANCE:
            held, told = (count * seconds for count in (self.frames, self.told))
            raise InputError(f"cut off: it holds {held:.2f} s of the {told:.2f} s that its header tells")
        if self.told is not None and self.told >= self.frames - TOLERANCE:
            return Segment(path, self.start, self.stop)
        return Segment(path, self.body, self.stop, self.frames * self.frame.samples)


def _mp3_segments(path: Path, data: mmap.mmap) -> list[Segment]:
    """The streams of an MP3 file; none if it holds no frames. Raises InputError if one is cut off."""
    streams: list[_Mp3Stream] = []
    position = 0
    while data[position : position + 3] == b"ID3":  # a tag
        length = 0
        for byte in data[position + 6 : position + 10]:
            length = length << 7 | byte & 127
        position += 10 + length
    position, follows = _find_frame(data, position, position + JUNK), False
    while position >= 0:
        frame = _frame_at(data, position)
        if frame is None:
            position, follows = _find_frame(data, position + 1, len(data)), False
            continue
        end = position + frame.size
        is_header = _is_header(data, position, frame)
        if is_header or not follows or streams[-1].frame.stream != frame.stream:
            streams.append(_Mp3Stream(position, frame, body=end if is_header else position))
        if is_header:
            streams[-1].told = _told_frames(data, position, frame)
        else:
            streams[-1].frames += 1
        streams[-1].stop = position = end
        follows = True
    return [stream.segment(path) for stream in streams if stream.frames]


def _is_header(data: mmap.mmap, position: int, frame: _Frame) -> bool:
    """Whether a frame holds no sound but a header about the frames that follow (of Xing and LAME, or Fraunhofer)."""
    at = position + frame.tag_at
    return data[at : at + 4] in {b"Xing", b"Info"} or data[position + 36 : position + 40] == b"VBRI"


def _told_frames(data: mmap.mmap, position: int, frame: _Frame) -> int | None:
    """The number of frames that a header tells, if it does."""
    at = position + frame.tag_at
    if data[position + 36 : position + 40] == b"VBRI":
        return int.from_bytes(data[position + 50 : position + 54])
    return int.from_bytes(data[at + 8 : at + 12]) if data[at + 7] & 1 else None
