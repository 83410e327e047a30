"""Audio files and recordings to waveforms, (S,) float32 in [-1, 1], and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.tokenizers.mulaw import check_waveform
from waveletgpt.tokenizers.pure_torchaudio import torchaudio

LOUDNESS_DBFS = -20.0
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; a file that claims another rate is corrupt
# torchaudio's filter bank grows with both terms of the ratio of the rates: with coprime rates to gigabytes.
# The usual rates are exact below this bound, for others the pitch is off by less than one in a million.
LARGEST_DENOMINATOR = 1_000
BLOCK = 1 << 20  # samples of each channel decoded at a time


def read_audio(path: Path | str, sample_rate: int, *, loudness_dbfs: float | None = LOUDNESS_DBFS) -> Tensor:
    """The sound in a WAV, FLAC, OGG or MP3 file as a waveform (S,) at `sample_rate` Hz.

    The format is told from the data, not from the name; any that libsndfile reads will do. Channels are
    averaged, and the loudness is set by `normalize_loudness` unless `loudness_dbfs` is None.
    Raises InputError if the file is missing, corrupt or no audio, has no samples, or holds NaN or inf.
    """
    with _named(path):
        array, from_rate = _decode(Path(path))
        waveform = waveform_from_array(array, from_rate, sample_rate)
    return waveform if loudness_dbfs is None else normalize_loudness(waveform, loudness_dbfs)


def audio_seconds(path: Path | str) -> float:
    """Duration of an audio file by its header. Raises InputError if it is missing, corrupt or no audio."""
    with _named(path), Path(path).open("rb") as opened, _open(opened) as file:
        return float(file.frames / file.samplerate)


def waveform_from_array(array: np.ndarray[Any, Any], from_rate: int, to_rate: int) -> Tensor:
    """A recording (S,) or (S, C) at `from_rate` Hz as a waveform (S * to_rate / from_rate,) at `to_rate` Hz.

    Signed integers are scaled by their type's range (int16: 32768), floats are taken as they are; channels
    are averaged. If the peak then exceeds 1, the whole is scaled down to a peak of 1.
    Raises InputError for any other array, no samples, NaN or inf, or rates outside 1 kHz .. 1 MHz.
    """
    for rate in (from_rate, to_rate):
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InputError(f"the sample rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate}")
    if array.ndim not in (1, 2) or array.dtype.kind not in "if":
        raise InputError(
            f"audio must be signed integers or floats, (samples,) or (samples, channels), "
            f"not {array.shape} of {array.dtype}"
        )
    if not array.size:
        raise InputError("the audio holds no samples")
    full_scale = -np.iinfo(array.dtype).min if array.dtype.kind == "i" else 1
    with np.errstate(invalid="ignore"):  # the mean of inf and -inf; refused below
        mono = array.reshape(len(array), -1).mean(axis=1, dtype=np.float64) / full_scale
    waveform = torch.from_numpy(mono)  # (S,)
    check_waveform(waveform)
    waveform = _limit_peak(waveform).float()
    if from_rate != to_rate:
        ratio = Fraction(int(to_rate), int(from_rate)).limit_denominator(LARGEST_DENOMINATOR)
        waveform = torchaudio.functional.resample(
            waveform,
            ratio.denominator,
            ratio.numerator,
            lowpass_filter_width=32,  # zero crossings; the default of 6 lets aliases through
        )
    return _limit_peak(waveform)


def normalize_loudness(waveform: Tensor, dbfs: float = LOUDNESS_DBFS) -> Tensor:
    """A waveform (S,) scaled to a root mean square of `dbfs` decibels below full scale, or to a peak of 1.

    The RMS is that of the whole waveform, 0 dBFS being an RMS of 1. If the gain would lift the peak above 1,
    the gain is the one that puts the peak at 1: nothing is clipped, and the RMS stays below `dbfs`.
    Digital silence stays silence.
    """
    check_waveform(waveform)
    samples = waveform.double()  # the squares of float32 can underflow
    rms = samples.square().mean().sqrt().item() if len(samples) else 0.0
    if rms > 0:
        samples = _limit_peak(samples * (10 ** (dbfs / 20) / rms))
    return samples.float()


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


def _decode(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    """Samples (S, C) float32 and sample rate of an audio file."""
    with path.open("rb") as opened, _open(opened) as file:
        # By blocks up to the end of the data, because a corrupt header can claim terabytes.
        blocks = [file.read(BLOCK, dtype="float32", always_2d=True)]
        while len(blocks[-1]):
            blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
        return np.concatenate(blocks), file.samplerate


def _open(opened: BufferedReader) -> soundfile.SoundFile:
    # By its descriptor, because soundfile would judge a file by the suffix of its name.
    return soundfile.SoundFile(opened.fileno(), closefd=False)


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
