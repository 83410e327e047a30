"""Reads audio files as waveforms, (S,) float32 in [-1, 1], and writes WAV files."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile

import soundfile
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.tokenizers.audio.resampling import resampled
from waveletgpt.tokenizers.audio.segments import CORRUPT, FORMATS, Segment, find_segments, first_part, last_part
from waveletgpt.tokenizers.audio.waveform import (
    LOUDNESS_DBFS,
    check_rates,
    check_waveform,
    normalized_blocks,
    to_mono,
)

BLOCK = 1 << 18  # samples decoded at a time, over all channels; a corrupt header may claim a thousand channels
IN_MEMORY = 1 << 26  # bytes of resampled sound kept in memory until its loudness is known; more goes to a file


def read_audio(
    path: Path | str,
    sample_rate: int,
    *,
    loudness_dbfs: float | None = LOUDNESS_DBFS,
    last_seconds: float | None = None,
    until: float | None = None,
) -> Tensor:
    """Read a WAV, FLAC, OGG or MP3 file as one waveform (S,) at `sample_rate` Hz, like `audio_blocks`.

    With `last_seconds` it is at most that long, and time and memory do not grow with the file.
    """
    blocks = audio_blocks(path, sample_rate, loudness_dbfs=loudness_dbfs, last_seconds=last_seconds, until=until)
    if last_seconds is None:
        return torch.cat(list(blocks))
    most, end = max(1, round(last_seconds * sample_rate)), torch.zeros(0)
    for block in blocks:
        end = torch.cat([end, block])[-most:]
    return end


def audio_seconds(path: Path | str) -> float:
    """How long an audio file lasts, by its headers. Raises InputError, as `audio_blocks` does."""
    seconds = 0.0
    with _named(path):
        for segment in find_segments(Path(path)):
            with segment.opened() as file:
                seconds += (file.frames if segment.samples is None else segment.samples) / file.samplerate
    return seconds


def audio_blocks(
    path: Path | str,
    sample_rate: int,
    *,
    loudness_dbfs: float | None = LOUDNESS_DBFS,
    scratch: Path | None = None,
    last_seconds: float | None = None,
    until: float | None = None,
) -> Iterator[Tensor]:
    """Read an audio file of any length in blocks. Channels are averaged.

    Args:
        path: WAV, FLAC, OGG, MP3 or another format of libsndfile. The data decide the format, not the suffix.
        sample_rate: of the result, in Hz.
        loudness_dbfs: loudness of the whole file, see `normalize_loudness`; None leaves it unchanged.
        scratch: folder for an unnamed temporary file, which holds long sounds at 4 bytes per sample until their
            loudness is known; None for the system's folder.
        last_seconds: the rest may be left out, and does not count for the loudness; None for all of the file.
        until: seconds from the beginning at which the file is taken to end; None for its own end.

    Yields:
        Blocks (S,) float32 of the waveform.

    Raises:
        InputError: the file is missing, corrupt, cut off or not audio, has no samples, or contains NaN or inf.
    """
    with _named(path):
        segments = find_segments(Path(path))
        if until is not None:
            segments = first_part(segments, until)
        if last_seconds is not None:
            segments = last_part(segments, last_seconds)
        with segments[0].opened() as file:
            from_rate = int(file.samplerate)
        check_rates(from_rate, sample_rate)
    with SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(scratch) if scratch else None) as storage:
        stored, peak, limit = _StoredBlocks(storage), 0.0, 1.0

        def limited() -> Iterator[Tensor]:
            nonlocal peak
            for block in _mono_blocks(path, segments):
                peak = max(peak, block.abs().max().item())
                yield (block / limit).float()

        stored.fill(resampled(limited(), from_rate, sample_rate))
        if peak > 1:  # only in lossy and float formats, so decoding again is rare
            limit = peak
            stored.fill(resampled(limited(), from_rate, sample_rate))
        yield from stored if loudness_dbfs is None else normalized_blocks(stored, loudness_dbfs)


def write_wav(path: Path | str, waveform: Tensor, sample_rate: int, comment: str = "") -> None:
    """Write a waveform (S,), clipped to [-1, 1], as a mono WAV file of 16-bit PCM, atomically.

    Samples are rounded to multiples of 1/32768, at most 32767/32768. `comment` (ASCII) becomes the file's comment.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; expected the name of a WAV file")
    check_waveform(waveform)
    pcm = (waveform.double() * 32768).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()
    file = BytesIO()  # libsndfile does not tell a full disk from other errors
    soundfile.write(file, pcm, sample_rate, subtype="PCM_16", format="WAV")
    with atomic_path(path) as partial:
        partial.write_bytes(_with_comment(file.getvalue(), comment.encode("ascii")) if comment else file.getvalue())


def _with_comment(data: bytes, comment: bytes) -> bytes:
    """A WAV file with an INFO list that holds a comment. libsndfile cuts long ones."""
    text = comment + bytes(2 - len(comment) % 2)  # ends with a zero and has an even length
    content = b"INFOICMT" + len(text).to_bytes(4, "little") + text
    data += b"LIST" + len(content).to_bytes(4, "little") + content
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


class _StoredBlocks:
    """Blocks of a waveform in a file, scaled to a peak of at most 1. Can be read more than once."""

    def __init__(self, storage: SpooledTemporaryFile[bytes]) -> None:
        self.storage, self.limit = storage, 1.0

    def fill(self, blocks: Iterator[Tensor]) -> None:
        """Replace the stored blocks."""
        self.storage.seek(0)
        self.storage.truncate()
        self.limit = 1.0
        for block in blocks:
            if len(block):
                self.limit = max(self.limit, block.abs().max().item())
                self.storage.write(block.numpy().tobytes())

    def __iter__(self) -> Iterator[Tensor]:
        self.storage.seek(0)
        while data := self.storage.read(4 * BLOCK):
            yield torch.frombuffer(bytearray(data), dtype=torch.float32) / self.limit


def _mono_blocks(path: Path | str, segments: Sequence[Segment]) -> Iterator[Tensor]:
    """Blocks (S,) float64 of the segments of an audio file at their own sample rate, channels averaged."""
    with _named(path):
        start, rate = 0, 0
        for segment in segments:
            with segment.opened() as file:
                if rate not in (0, file.samplerate):
                    raise InputError(f"joined from parts at {rate} and at {file.samplerate} Hz; resample one of them")
                rate = int(file.samplerate)
                if segment.skipped:
                    warm_up = min(segment.skipped, rate)  # an MP3 decoder clicks after a seek
                    file.seek(segment.skipped - warm_up)
                    file.read(warm_up)
                frames = max(1, BLOCK // file.channels)
                left = (segment.wanted or sys.maxsize) - segment.skipped
                # Read until the data end: a corrupt header may claim terabytes.
                while left and len(array := file.read(min(frames, left), dtype="float32", always_2d=True)):
                    left -= len(array)
                    block = to_mono(array)
                    broken = (~block.isfinite()).nonzero()
                    if len(broken):
                        raise InputError(f"sample {start + int(broken[0])} is not a finite number")
                    yield block
                    start += len(block)
        if not start:
            raise InputError("the audio holds no samples")


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    """Convert errors of reading `path` into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {FORMATS}") from error
    except soundfile.SoundFileError as error:
        raise InputError(f"{path}: {CORRUPT}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
