"""Audio files of several streams, streams that do not tell their length, and the end of long files."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.audio.audio_file import read_audio
from waveletgpt.tokenizers.audio.segments import find_segments

RATE = 16_000


def sound(frequency: float, rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    """A tone with noise at its start, so that a variable bit rate varies."""
    time = np.arange(int(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * frequency * time)
    wave += np.random.default_rng(0).normal(0, 0.1, len(time)) * (time < 0.3)
    return np.stack([wave] * channels, axis=1)


def encoded(path: Path, frequency: float, rate: int = 44100, seconds: float = 1.0, **options: object) -> bytes:
    """The bytes of a sound in the format of the path's suffix."""
    channels = options.pop("channels", 1)
    soundfile.write(path, sound(frequency, rate, seconds, channels), rate, **options)  # type: ignore[arg-type]
    return path.read_bytes()


def mp3(folder: Path, frequency: float = 440, *, header: bool = True, **options: object) -> bytes:
    """An MP3 of variable bit rate, with a Xing header or without."""
    data = encoded(folder / "part.mp3", frequency, bitrate_mode="VARIABLE", **options)
    (segment,) = find_segments(folder / "part.mp3")
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert tag > 0
    first = next(at for at in range(tag, len(data)) if data[at] == 0xFF and data[at + 1] == data[segment.start + 1])
    return data[segment.start :] if header else data[first:]


def pitches(waveform: torch.Tensor, seconds: float = 1.0) -> list[int]:
    """The strongest frequency, in Hz, in the second half of each stretch of some `seconds`."""
    parts = waveform.split(int(RATE * seconds))
    halves = [part[len(part) // 2 :] for part in parts if len(part) > RATE * seconds * 0.9]
    return [round(int(torch.fft.rfft(half).abs().argmax()) * RATE / len(half), -1) for half in halves]


def read(folder: Path, data: bytes, suffix: str = ".mp3") -> torch.Tensor:
    (folder / f"a{suffix}").write_bytes(data)
    return read_audio(folder / f"a{suffix}", RATE)


def refusal(folder: Path, data: bytes, suffix: str = ".mp3") -> str:
    with pytest.raises(InputError) as caught:
        read(folder, data, suffix)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{folder / f'a{suffix}'}: ")


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 11025])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_of_variable_bit_rate_is_read_whole_without_its_header(tmp_path: Path, rate: int, channels: int) -> None:
    options = {"rate": rate, "channels": channels, "seconds": 4.0}
    with_header, without = (mp3(tmp_path, header=header, **options) for header in (True, False))
    assert len(without) < len(with_header)
    assert len(read(tmp_path, with_header)) == 4 * RATE
    assert len(read(tmp_path, without)) == pytest.approx(4 * RATE, abs=4 * 1152 * RATE // rate)
    assert pitches(read(tmp_path, without)) == [440] * 4


def test_a_header_that_tells_of_too_few_frames_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(mp3(tmp_path, seconds=3.0))
    at = max(data.find(b"Xing"), data.find(b"Info"))
    data[at + 8 : at + 12] = (20).to_bytes(4)
    assert len(read(tmp_path, data)) == pytest.approx(3 * RATE, abs=2000)


@pytest.mark.parametrize("headers", [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\x03\0\0\0\0\x0f\x00" + bytes(0x780), b"\xff" * 99])
def test_joined_mp3s_are_read_whole(tmp_path: Path, headers: tuple[bool, bool], between: bytes) -> None:
    parts = [mp3(tmp_path, f, header=header) for f, header in zip((440, 880), headers, strict=True)]
    waveform = read(tmp_path, between.join(parts))
    assert len(waveform) == pytest.approx(2 * RATE, abs=2000)
    assert pitches(waveform[: 2 * RATE]) == [440, 880]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_files_are_read_whole(tmp_path: Path, subtype: str) -> None:
    parts = [encoded(tmp_path / "part.ogg", f, 48000, subtype=subtype) for f in (440, 880, 660)]
    waveform = read(tmp_path, b"".join(parts), ".ogg")
    assert len(waveform) == 3 * RATE
    assert pitches(waveform) == [440, 880, 660]
    end = read_audio(tmp_path / "a.ogg", RATE, last_seconds=1.5)
    assert len(end) == 1.5 * RATE
    assert pitches(end[RATE // 2 :]) == [660]


@pytest.mark.parametrize("junk", [bytes(3000), random.Random(0).randbytes(50_000), b"\xff\xfb\x90\xc4" * 50, b"\xff"])
@pytest.mark.parametrize("header", [True, False])
def test_junk_before_an_mp3_is_passed_over(tmp_path: Path, junk: bytes, header: bool) -> None:
    waveform = read(tmp_path, junk + mp3(tmp_path, header=header))
    assert len(waveform) == pytest.approx(RATE, abs=1500)
    assert pitches(waveform) == [440]


def test_parts_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    parts = [mp3(tmp_path, rate=44100), mp3(tmp_path, rate=48000)]
    assert refusal(tmp_path, b"".join(parts)).startswith("joined from parts at 44100 and at 48000 Hz")
    parts = [encoded(tmp_path / "part.ogg", 440, rate) for rate in (44100, 48000)]
    assert refusal(tmp_path, b"".join(parts), ".ogg").startswith("joined from parts at 44100 and at 48000 Hz")
    for channels in ((1, 2), (2, 1)):
        parts = [mp3(tmp_path, channels=count) for count in channels]
        assert len(read(tmp_path, b"".join(parts))) == pytest.approx(2 * RATE, abs=2)


def test_an_mp3_that_ends_early_is_named(tmp_path: Path) -> None:
    whole = mp3(tmp_path, seconds=4.0)
    assert refusal(tmp_path, whole[: len(whole) * 2 // 3]).startswith("cut off: it holds ")
    assert refusal(tmp_path, whole[: len(whole) * 2 // 3] + whole).startswith("cut off: it holds ")
    without = mp3(tmp_path, seconds=4.0, header=False)
    assert len(read(tmp_path, without[: len(without) * 2 // 3])) > RATE  # nothing tells how long it was


@pytest.mark.parametrize(("packet", "codec"), [(b"\x7fFLAC\x01\x00\x00\x01fLaC", "FLAC"), (b"Speex   1.2", "Speex")])
def test_other_codecs_in_ogg_are_named(tmp_path: Path, packet: bytes, codec: str) -> None:
    page = b"OggS\0\2" + bytes(20) + b"\1" + bytes([len(packet)]) + packet
    assert refusal(tmp_path, page, ".ogg").startswith(f"OGG with {codec}; expected Vorbis or Opus")
    for broken in (page[:4], page[:26], page[:29], page.replace(packet, bytes(len(packet)))):
        assert refusal(tmp_path, broken, ".ogg").startswith("corrupt, or not a WAV, FLAC, OGG or MP3 file")


@pytest.mark.parametrize("data", [b"\xff\xfb\x90\xc4", b"\xff" * 5000, b"ID3\x03\0\0\x7f\x7f\x7f\x7f", b"ID3"])
def test_what_only_begins_like_an_mp3_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "corrupt" in refusal(tmp_path, data)


# The end of a file.


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("seconds", [0.01, 1.3, 5.0, 100.0])
def test_the_end_of_a_file_is_that_of_the_whole(tmp_path: Path, suffix: str, rate: int, seconds: float) -> None:
    time = np.arange(8 * rate) / rate
    soundfile.write(tmp_path / f"a.{suffix}", 0.3 * np.sin(2 * np.pi * (300 + 50 * time) * time), rate)
    whole = read_audio(tmp_path / f"a.{suffix}", RATE, loudness_dbfs=None)
    end = read_audio(tmp_path / f"a.{suffix}", RATE, loudness_dbfs=None, last_seconds=seconds)
    assert len(end) == min(len(whole), round(seconds * RATE))
    ours, theirs = end[RATE // 10 :], whole[-len(end) :][RATE // 10 :]  # the filter reads silence before the start
    assert len(ours) == 0 or (ours - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("until", [0.0, 0.5, 3.7, 100.0])
def test_a_file_may_be_taken_to_end_early(tmp_path: Path, suffix: str, until: float) -> None:
    time = np.arange(8 * 16000) / 16000
    soundfile.write(tmp_path / f"a.{suffix}", 0.3 * np.sin(2 * np.pi * (300 + 50 * time) * time), 16000)
    whole = read_audio(tmp_path / f"a.{suffix}", RATE, loudness_dbfs=None)
    part = read_audio(tmp_path / f"a.{suffix}", RATE, loudness_dbfs=None, last_seconds=2.0, until=until)
    end = min(len(whole), max(1, round(until * RATE)))
    assert len(part) == min(end, 2 * RATE)
    inner = slice(RATE // 10, len(part) - RATE // 10)  # the filter reads silence on both sides
    if len(part[inner]):
        assert (part[inner] - whole[end - len(part) : end][inner]).abs().max() < 1e-3


def test_joined_files_may_be_taken_to_end_early(tmp_path: Path) -> None:
    parts = [encoded(tmp_path / "part.ogg", f, 48000, subtype="VORBIS") for f in (440, 880, 660)]
    (tmp_path / "a.ogg").write_bytes(b"".join(parts))
    part = read_audio(tmp_path / "a.ogg", RATE, last_seconds=1.5, until=2.0)
    assert len(part) == 1.5 * RATE and pitches(part[RATE // 2 :]) == [880]


def test_the_end_of_an_mp3_without_a_header_is_found(tmp_path: Path) -> None:
    data = mp3(tmp_path, 440, seconds=5.0, header=False) + mp3(tmp_path, 880, seconds=1.0)
    whole = read(tmp_path, data)
    end = read_audio(tmp_path / "a.mp3", RATE, last_seconds=2.0)
    assert len(whole) > 6 * RATE > len(end) == 2 * RATE
    assert pitches(end) == [440, 880]


def test_a_length_that_is_a_lie_does_not_matter(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", sound(440, RATE, 3.0), RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F  # the highest bits of STREAMINFO's 36-bit count of samples
    (tmp_path / "a.flac").write_bytes(data)
    end = read_audio(tmp_path / "a.flac", RATE, last_seconds=1.0)
    assert len(end) == RATE and pitches(end) == [440]


PEAK_MEMORY = """
import resource, sys, torch
torch.set_num_threads(1)
from waveletgpt.tokenizers.audio.audio_file import read_audio
length = len(read_audio(sys.argv[1], 16000, last_seconds=60))
print(length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.slow
def test_the_memory_for_the_end_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Three hours of silence are a few hundred kB as FLAC, and 700 MB in float32."""
    used = []
    for minutes in (1, 180):
        with soundfile.SoundFile(tmp_path / "a.flac", "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(np.zeros(60 * RATE, np.int16))
        assert (tmp_path / "a.flac").stat().st_size < 1_000_000
        command = [sys.executable, "-c", PEAK_MEMORY, str(tmp_path / "a.flac")]
        length, megabytes = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
        assert length == 60 * RATE
        used.append(megabytes)
    assert used[1] - used[0] < 30
