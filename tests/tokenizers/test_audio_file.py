import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.audio import audio_file, resampling
from waveletgpt.tokenizers.audio.audio_file import audio_blocks, read_audio, write_wav
from waveletgpt.tokenizers.audio.pure_torchaudio import torchaudio
from waveletgpt.tokenizers.audio.resampling import resampled
from waveletgpt.tokenizers.audio.waveform import normalize_loudness, waveform_from_array


def tone(frequency: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def level(waveform: torch.Tensor) -> float:
    """The RMS level in dBFS."""
    return 10 * math.log10(waveform.double().square().mean())


def pitch(waveform: torch.Tensor, rate: int) -> float:
    """The strongest frequency in Hz, found by one Fourier transform of the whole sound."""
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()
    return spectrum.argmax().item() * rate / len(waveform)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_format_and_rate_gives_the_same_sound(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone(440, rate), tone(440, rate, amplitude=0.1)], axis=1), rate)
    waveform = read_audio(path, 16000)
    assert waveform.dtype == torch.float32
    assert len(waveform) == pytest.approx(16000, abs=0 if suffix in {"wav", "flac"} else 2400)
    assert level(waveform) == pytest.approx(-20, abs=0.01)
    assert pitch(waveform, 16000) == pytest.approx(440, abs=1.5)


def test_the_format_is_told_from_the_data_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "tone.raw"
    soundfile.write(path, tone(440, 16000), 16000, format="FLAC")
    assert len(read_audio(path, 16000)) == 16000


def test_without_normalisation_the_samples_are_those_of_the_file(tmp_path: Path) -> None:
    pcm = np.array([0, 1, -1, 12345, -32768, 32767], dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, 16000)
    waveform = read_audio(tmp_path / "a.wav", 16000, loudness_dbfs=None)
    assert (waveform * 32768).tolist() == pcm.tolist()


@pytest.mark.parametrize(("rate", "to_rate"), [(44100, 16000), (16000, 44100), (192000, 16000), (22255, 16000)])
def test_resampling_keeps_the_wave(rate: int, to_rate: int) -> None:
    waveform = waveform_from_array(tone(440, rate), rate, to_rate)
    expected = torch.from_numpy(tone(440, to_rate))
    assert len(waveform) == to_rate
    inner = slice(to_rate // 10, -to_rate // 10)  # near the ends the filter also reads silence
    assert (waveform - expected)[inner].abs().max() < 2e-3


def test_what_the_new_rate_cannot_hold_does_not_fold_into_it() -> None:
    assert level(waveform_from_array(tone(10_000, 44100, amplitude=0.9), 44100, 16000)[1000:-1000]) < -70


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float32, np.float64])
def test_integers_and_floats_of_one_sound_agree(dtype: type[np.generic]) -> None:
    sound = np.array([[0.0, 0.0], [0.5, 0.25], [-1.0, -0.5], [0.75, -0.75]])
    scale = -int(np.iinfo(dtype).min) if np.issubdtype(dtype, np.integer) else 1
    array = (sound * scale).astype(dtype)
    assert waveform_from_array(array, 16000, 16000).tolist() == [0.0, 0.375, -0.75, 0.0]
    assert waveform_from_array(array[:, 0], 16000, 16000).tolist() == [0.0, 0.5, -1.0, 0.75]


@settings(deadline=None)
@example(np.full((1, 3), 6e307), 1000)
@given(
    hnp.arrays(
        st.sampled_from([np.int16, np.int32, np.float32, np.float64]),
        st.one_of(st.tuples(st.integers(1, 50)), st.tuples(st.integers(1, 50), st.integers(1, 3))),
    ),
    st.sampled_from([1000, 8000, 11127, 16000, 44100]),
)
def test_any_array_is_a_waveform_in_range_or_refused(array: np.ndarray, rate: int) -> None:
    try:
        waveform = waveform_from_array(array, rate, 16000)
    except InputError as refusal:
        assert "finite" in str(refusal)
        assert not np.isfinite(array).all()
        return
    for result in (waveform, normalize_loudness(waveform)):
        assert result.dtype == torch.float32
        assert result.isfinite().all()
        assert result.abs().max() <= 1
    assert len(waveform) == pytest.approx(len(array) * 16000 / rate, abs=1)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(0),
        np.zeros((5, 0)),
        np.zeros((2, 2, 2)),
        np.zeros(3, np.uint8),
        np.array(["a"]),
        np.array(0.5),
    ],
)
def test_what_is_no_recording_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="audio"):
        waveform_from_array(array, 16000, 16000)


@pytest.mark.parametrize("rate", [-1, 0, 1, 999, 1_000_001, 1 << 31])
def test_absurd_sample_rates_are_refused(rate: int) -> None:
    with pytest.raises(InputError, match="sample rate"):
        waveform_from_array(np.zeros(10), rate, 16000)


def test_quiet_and_loud_recordings_come_out_equally_loud() -> None:
    for amplitude in (1e-6, 0.01, 1.0):
        normalized = normalize_loudness(torch.from_numpy(tone(440, 16000, amplitude=amplitude)), -23.0)
        assert level(normalized) == pytest.approx(-23, abs=0.01)


def test_a_click_is_lifted_to_full_scale_but_never_clipped() -> None:
    click = torch.zeros(16000)
    click[100:102] = torch.tensor([0.02, -0.01])
    normalized = normalize_loudness(click)
    assert normalized[100:102].tolist() == [1.0, -0.5]
    assert level(normalized) < -20


def test_silence_stays_silence() -> None:
    assert normalize_loudness(torch.zeros(100)).equal(torch.zeros(100))
    assert normalize_loudness(torch.zeros(0)).shape == (0,)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 100), elements=st.floats(-1.5, 1.5, width=32)))
def test_a_wav_holds_the_waveform_to_half_a_step_of_16_bits(
    tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, torch.from_numpy(samples), 16000)
    assert soundfile.info(path).subtype == "PCM_16"
    assert soundfile.info(path).samplerate == 16000
    read = read_audio(path, 16000, loudness_dbfs=None).numpy()
    assert np.abs(read - samples.clip(-1, 32767 / 32768)).max() <= 0.5 / 32768


def test_a_wav_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finite"):
        write_wav(tmp_path / "a.wav", torch.tensor([0.0, math.nan]), 16000)
    with pytest.raises(InputError, match="directory"):
        write_wav(tmp_path, torch.zeros(4), 16000)
    assert list(tmp_path.iterdir()) == []


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_audio(path, 16000)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.wav")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello\n" * 100, b"RIFF\x00\x00\x00\x00WAVE", b"fLaC" + bytes(100)])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.raw", "a"])
def test_what_is_no_audio_is_refused(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert "WAV, FLAC, OGG or MP3" in refusal(tmp_path / name)


def test_a_cut_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(440, 16000), 16000)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "corrupt" in refusal(path)


def test_a_header_that_claims_terabytes_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(440, 16000), 16000)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the highest bits of STREAMINFO's 36-bit count of samples
    path.write_bytes(data)
    assert soundfile.info(path).frames > 1 << 35
    assert len(read_audio(path, 16000)) == 16000


def test_empty_and_broken_sounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16000)
    assert "no samples" in refusal(path)
    soundfile.write(path, np.array([[0, 0], [np.inf, -np.inf]], np.float32), 16000, subtype="FLOAT")
    assert "sample 1 " in refusal(path)


# Reading and resampling by blocks.

RATES = [(44100, 16000), (48000, 16000), (16000, 44100), (22255, 16000), (8000, 16000), (11127, 16000), (16000, 16000)]


def resampled_whole(waveform: torch.Tensor, from_rate: int, to_rate: int) -> torch.Tensor:
    ratio = Fraction(to_rate, from_rate).limit_denominator(1000)
    return torchaudio.functional.resample(waveform, ratio.denominator, ratio.numerator, lowpass_filter_width=32)


@pytest.mark.parametrize(("rate", "to_rate"), RATES)
@pytest.mark.parametrize("seconds", [0.0003, 0.7, 25.0])
def test_resampling_by_blocks_gives_the_samples_of_the_whole(rate: int, to_rate: int, seconds: float) -> None:
    """The sound may be cut anywhere, and may be longer than the filter's blocks."""
    noise = 0.3 * torch.randn(max(1, int(rate * seconds)), generator=torch.Generator().manual_seed(0))
    whole = resampled_whole(noise, rate, to_rate)
    for size in (len(noise), 1 << 18, 100_003):
        joined = torch.cat(list(resampled(noise.split(size), rate, to_rate)))
        assert joined.shape == whole.shape
        assert (joined - whole).abs().max() < 1e-6


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 400), max_size=12), st.integers(1, 300))
def test_no_seam_is_heard_between_small_blocks(rates: tuple[int, int], lengths: list[int], block: int) -> None:
    lengths = [*lengths, 1]
    noise = 0.3 * torch.randn(sum(lengths), generator=torch.Generator().manual_seed(1))
    whole = resampled_whole(noise, *rates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "BLOCK", block)
        joined = torch.cat(list(resampled(noise.split(lengths), *rates)))
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-6


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("block", [1 << 18, 5_000])
def test_a_file_read_by_blocks_is_the_file_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, rate: int, block: int
) -> None:
    """This includes MP3, whose decoder would click after a seek."""
    monkeypatch.setattr(audio_file, "BLOCK", block)
    monkeypatch.setattr(audio_file, "IN_MEMORY", 1000)
    sound = np.stack([tone(440, rate, 3.0), tone(3000, rate, 3.0, amplitude=0.1)], axis=1)
    soundfile.write(tmp_path / f"a.{suffix}", sound, rate)
    array, _ = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32", always_2d=True)
    expected = normalize_loudness(waveform_from_array(array, rate, 16000))
    blocks = list(audio_blocks(tmp_path / f"a.{suffix}", 16000, scratch=tmp_path))
    assert len(blocks) > 1 or block > 16000
    assert (torch.cat(blocks) - expected).abs().max() < 1e-6
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_the_peak_of_the_whole_limits_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last sample of a float file is the loudest and exceeds full scale."""
    monkeypatch.setattr(audio_file, "BLOCK", 1000)
    sound = tone(440, 22050, 1.0)
    sound[-50:] *= 6
    soundfile.write(tmp_path / "a.wav", sound, 22050, subtype="FLOAT")
    for loudness in (None, -20.0, 0.0):
        waveform = waveform_from_array(sound, 22050, 16000)
        expected = waveform if loudness is None else normalize_loudness(waveform, loudness)
        read = torch.cat(list(audio_blocks(tmp_path / "a.wav", 16000, loudness_dbfs=loudness)))
        assert (read - expected).abs().max() < 1e-6
        assert read.abs().max() <= 1


PEAK_MEMORY = """
import resource, sys, torch
torch.set_num_threads(1)
from waveletgpt.tokenizers.audio.audio_file import audio_blocks
length = sum(map(len, audio_blocks(sys.argv[1], 16000)))
print(length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.slow
def test_the_memory_for_a_long_recording_is_that_for_a_short_one(tmp_path: Path) -> None:
    """The limit is 60 MB, 19 of them the resampled sound. The long recording alone has 106 MB in float32."""
    used = []
    for seconds in (2, 300):
        with soundfile.SoundFile(tmp_path / "a.wav", "w", 44100, 2) as file:
            for _ in range(seconds):
                file.write(np.stack([tone(440, 44100)] * 2, axis=1))
        command = [sys.executable, "-c", PEAK_MEMORY, str(tmp_path / "a.wav")]
        length, megabytes = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
        assert length == seconds * 16000
        used.append(megabytes)
    assert used[1] - used[0] < 60
