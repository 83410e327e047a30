"""Audio files in every format that soundfile writes, whole, joined or damaged."""

from pathlib import Path
from random import Random

import numpy as np
import soundfile
import torch
from damage import damaged
from promises import check, check_refusal

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.audio.audio_file import read_audio

FORMATS = (
    *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM")),
    *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("FLAC", "PCM_16")),
    *(("OGG", "VORBIS"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("OGG", "OPUS")),
    *(("MP3", "MPEG_LAYER_III"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT")),
)
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
JOINABLE = ("MP3", "OGG")
PADDING = 0.12
"""Seconds that a lossy encoder may add at both ends."""
TO_RATE = 8000


def build(path: Path, random: Random) -> tuple[str, float]:
    """Write a sound to `path`. Returns its format and its seconds."""
    kind, subtype = random.choice(FORMATS)
    rate = random.choice((8000, 12000, 16000, 24000, 48000) if subtype == "OPUS" else RATES)
    channels = random.choice((1, 1, 2) if kind == "MP3" or "ADPCM" in subtype else (1, 1, 2, 6))
    frames = random.choice((1, 100, 2000, 8000, random.randrange(1, 20_000)))
    time, noise = np.arange(frames) / rate, np.random.default_rng(random.randrange(2**32))
    sound = random.choice((0, 0.1, 0.9)) * np.sin(2 * np.pi * random.choice((50, 440, 3000)) * time)
    sound = sound + random.choice((0, 0, 0.05)) * noise.standard_normal(frames)
    soundfile.write(path, np.stack([sound] * channels, axis=1), rate, subtype=subtype, format=kind)
    return kind, frames / rate


class Kind:
    """Reads audio files as app and training do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sound"  # without suffix: the data decide
        torch.set_num_threads(1)

    def run(self, random: Random) -> str:
        """Write, damage, read and check one file."""
        kind, seconds = build(self.path, random)
        data, parts = self.path.read_bytes(), 1
        if kind in JOINABLE and random.random() < 0.15:
            parts = random.choice((2, 3))
        joined = data * parts
        whole = random.random() < 0.25
        if not whole:
            joined = damaged(joined, random)
        elif kind == "MP3" and random.random() < 0.2:
            joined = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + joined
        self.path.write_bytes(joined)
        last = random.choice((None, None, 0.05, 3.0))
        try:
            waveform = read_audio(self.path, TO_RATE, loudness_dbfs=random.choice((None, -20.0)), last_seconds=last)
        except InputError as error:
            check_refusal(str(error).removeprefix(f"{self.path}: "), str(self.path.parent))
            check(not whole, f"a whole {kind} of {seconds} s is refused: {error}")
            return "refused"
        check(waveform.ndim == 1 and waveform.dtype == torch.float32 and len(waveform), "shape")
        check(bool(waveform.isfinite().all()) and waveform.abs().max() <= 1.0, "samples")
        heard = len(waveform) / TO_RATE
        if whole:
            lossy = PADDING * parts * (kind in JOINABLE) + 0.003 * parts + 0.13 * (kind == "WAV")  # a block of ADPCM
            wanted = seconds * parts
            least, most = (wanted, wanted) if last is None else (min(wanted, last), min(wanted + lossy, last))
            check(
                least - lossy <= heard <= most + lossy,
                f"{kind} of {parts} x {seconds:.3f} s is heard for {heard:.3f} s",
            )
        if last is not None:
            check(heard <= last + 1 / TO_RATE, f"{heard} s for the last {last}")
        return "read"
