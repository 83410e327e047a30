"""Audio files and recordings to waveforms, (S,) float32 in [-1, 1], and back."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.tokenizers.audio.resampling import resampled
from waveletgpt.tokenizers.mulaw import check_waveform

LOUDNESS_DBFS = -20.0
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; a file that claims another rate is corrupt
BLOCK = 1 << 18  # samples decoded at a time, of all channels together: a corrupt header can claim a thousand
IN_MEMORY = 1 << 26  # bytes of resampled sound that wait in memory for their loudness; more wait in a file


def read_audio(path: Path | str, sample_rate: int, *, loudness_dbfs: float | None = LOUDNESS_DBFS) -> Tensor:
    """The sound in a WAV, FLAC, OGG or MP3 file as a waveform (S,) at `sample_rate` Hz: all of `audio_blocks`."""
    return torch.cat(list(audio_blocks(path, sample_rate, loudness_dbfs=loudness_dbfs)))


def audio_blocks(
    path: Path | str,
    sample_rate: int,
    *,
    loudness_dbfs: float | None = LOUDNESS_DBFS,
    scratch: Path | None = None,
) -> Iterator[Tensor]:
    """The sound in a WAV, FLAC, OGG or MP3 file at `sample_rate` Hz, in blocks (S,), however long it is.

    The format is told from the data, not from the name; any that libsndfile reads will do. Channels are
    averaged, and the loudness of the whole is set as by `normalize_loudness` unless `loudness_dbfs` is None.
    What is too long to wait in memory until its loudness is known, waits in a file that has no name in the
    folder `scratch` (the system's for temporary files unless given), 4 bytes a sample.
    Raises InputError if the file is missing, corrupt or no audio, has no samples, or holds NaN or inf.
    """
    with _named(path), Path(path).open("rb") as opened, _open(opened) as file:
        from_rate = int(file.samplerate)
        check_rates(from_rate, sample_rate)
    with SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(scratch) if scratch else None) as storage:
        waiting, peak, limit = _Waiting(storage), 0.0, 1.0

        def limited() -> Iterator[Tensor]:
            nonlocal peak
            for block in _mono_blocks(path):
                peak = max(peak, block.abs().max().item())
                yield (block / limit).float()

        waiting.fill(resampled(limited(), from_rate, sample_rate))
        if peak > 1:  # as only formats with loss and floats can; seldom enough to decode them again
            limit = peak
            waiting.fill(resampled(limited(), from_rate, sample_rate))
        # The blocks that wait are read once more for the loudness, and once for their samples.
        yield from waiting if loudness_dbfs is None else _normalized(waiting, loudness_dbfs)


def waveform_from_array(array: np.ndarray[Any, Any], from_rate: int, to_rate: int) -> Tensor:
    """A recording (S,) or (S, C) at `from_rate` Hz as a waveform (S * to_rate / from_rate,) at `to_rate` Hz.

    Signed integers are scaled by their type's range (int16: 32768), floats are taken as they are; channels
    are averaged. If the peak then exceeds 1, the whole is scaled down to a peak of 1.
    Raises InputError for any other array, no samples, NaN or inf, or rates outside 1 kHz .. 1 MHz.
    """
    check_rates(from_rate, to_rate)
    if array.ndim not in (1, 2) or array.dtype.kind not in "if":
        raise InputError(
            f"audio must be signed integers or floats, (samples,) or (samples, channels), "
            f"not {array.shape} of {array.dtype}"
        )
    if not array.size:
        raise InputError("the audio holds no samples")
    full_scale = -np.iinfo(array.dtype).min if array.dtype.kind == "i" else 1
    mono = _mono(array.reshape(len(array), -1)) / full_scale
    check_waveform(mono)
    return _limit_peak(torch.cat(list(resampled([_limit_peak(mono).float()], from_rate, to_rate))))


def normalize_loudness(waveform: Tensor, dbfs: float = LOUDNESS_DBFS) -> Tensor:
    """A waveform (S,) scaled to a root mean square of `dbfs` decibels below full scale, or to a peak of 1.

    The RMS is that of the whole waveform, 0 dBFS being an RMS of 1. If the gain would lift the peak above 1,
    the gain is the one that puts the peak at 1: nothing is clipped, and the RMS stays below `dbfs`.
    Digital silence stays silence.
    """
    check_waveform(waveform)
    return next(_normalized([waveform], dbfs)) if len(waveform) else waveform.float()


def check_rates(*rates: int) -> None:
    """Raise InputError for a sample rate that no recording has."""
    for rate in rates:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InputError(f"the sample rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate}")


def write_wav(path: Path | str, waveform: Tensor, sample_rate: int) -> None:
    """Write a waveform (S,), clipped to [-1, 1], as a mono WAV file of 16-bit PCM, atomically.

    Each sample is rounded to the nearest multiple of 1/32768, the highest being 32767/32768.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; expected the name of a WAV file to write")
    check_waveform(waveform)
    pcm = (waveform.double() * 32768).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()
    with atomic_path(path) as partial:
        soundfile.write(partial, pcm, sample_rate, subtype="PCM_16", format="WAV")


class _Waiting:
    """Blocks of a waveform in a file, to be read as often as need be, no louder than a peak of 1."""

    def __init__(self, storage: SpooledTemporaryFile[bytes]) -> None:
        self.storage, self.limit = storage, 1.0

    def fill(self, blocks: Iterator[Tensor]) -> None:
        """Take these blocks instead of those before."""
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


def _normalized(blocks: Iterable[Tensor], dbfs: float) -> Iterator[Tensor]:
    """The blocks of a waveform, which are read twice, at the loudness that `normalize_loudness` gives the whole."""
    length, squares, peak = 0, 0.0, 0.0
    for block in blocks:
        samples = block.double()  # the squares of float32 can underflow
        length += len(samples)
        squares += samples.square().sum().item()
        peak = max(peak, samples.abs().max().item())
    rms = math.sqrt(squares / length)
    gain = 10 ** (dbfs / 20) / rms if rms > 0 else 1.0
    for block in blocks:
        yield (block.double() * gain / max(1.0, peak * gain)).float()


def _mono_blocks(path: Path | str) -> Iterator[Tensor]:
    """The samples of an audio file at its own rate, channels averaged, in blocks (S,) float64."""
    with _named(path), Path(path).open("rb") as opened, _open(opened) as file:
        start = 0
        frames = max(1, BLOCK // file.channels)
        # Up to the end of the data, because a corrupt header can claim terabytes.
        while len(array := file.read(frames, dtype="float32", always_2d=True)):
            block = _mono(array)
            broken = (~block.isfinite()).nonzero()
            if len(broken):
                raise InputError(f"sample {start + int(broken[0])} is not a finite number")
            yield block
            start += len(block)
        if not start:
            raise InputError("the audio holds no samples")


def _mono(array: np.ndarray[Any, Any]) -> Tensor:
    """The mean of the channels of (S, C), (S,) float64."""
    with np.errstate(invalid="ignore"):  # the mean of inf and -inf, which is refused later
        return torch.from_numpy(array.mean(axis=1, dtype=np.float64))


class _Straight(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """An audio file that is read from its start to its end.

    soundfile seeks after every block of a file that can be sought in, and an MP3 decoder clicks where it sought.
    """

    def seekable(self) -> bool:
        return False


def _open(opened: BufferedReader) -> soundfile.SoundFile:
    # By its descriptor, because soundfile would judge a file by the suffix of its name.
    return _Straight(opened.fileno(), closefd=False)


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    """Turn what reading `path` raises into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a WAV, FLAC, OGG or MP3 file") from error
    except soundfile.SoundFileError as error:
        raise InputError(f"{path}: corrupt, or not a WAV, FLAC, OGG or MP3 file") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _limit_peak(waveform: Tensor) -> Tensor:
    """`waveform` scaled down to a peak of 1 if it exceeds that."""
    peak = waveform.abs().max()
    return waveform / peak if peak > 1 else waveform
