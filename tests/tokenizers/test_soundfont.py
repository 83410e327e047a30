import numpy as np
import pytest
import torch
from symusic.core import NoteTick, ScoreTick, TempoTick, TrackTick

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano import soundfont
from waveletgpt.tokenizers.piano.sf2 import read_zones
from waveletgpt.tokenizers.piano.soundfont import RELEASE, render

RATE = 16_000


def piece(*notes: tuple[int, int, int, int]) -> ScoreTick:
    score = ScoreTick(50)
    track = TrackTick("")
    for note in notes:
        track.notes.append(NoteTick(*note))
    score.tracks.append(track)
    return score


def near(audio: torch.Tensor, frequency: float, rate: int) -> float:
    """The strongest frequency within two semitones of `frequency`."""
    size = 1 << 18
    spectrum = np.abs(np.fft.rfft(audio.numpy() * np.hanning(len(audio)), size))
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    spectrum[abs(np.log2(np.maximum(frequencies, 1) / frequency)) > 1 / 6] = 0
    return float(frequencies[spectrum.argmax()])


def test_a4_is_at_440_hz() -> None:
    audio = render(piece((0, 200, 69, 100)), RATE)
    spectrum = np.abs(np.fft.rfft(audio.numpy() * np.hanning(len(audio))))
    assert abs(spectrum.argmax() * RATE / len(audio) - 440) < 2


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_every_key_of_the_piano_is_in_tune(rate: int) -> None:
    for pitch in range(21, 109, 3):
        expected = 440 * 2 ** ((pitch - 69) / 12)
        cents = 1200 * np.log2(near(render(piece((0, 100, pitch, 100)), rate), expected, rate) / expected)
        assert abs(cents) < 12, f"pitch {pitch}: {cents} cents"


def test_length_and_times() -> None:
    audio = render(piece((100, 50, 60, 100)), RATE)
    assert audio.dtype == torch.float32
    assert audio.shape == (round((1.5 + RELEASE) * RATE),)
    assert audio[:RATE].abs().max() == 0
    assert audio[RATE : RATE + 800].abs().max() > 0.01
    assert audio[-10:].abs().max() < 1e-4


def test_a_tempo_is_followed() -> None:
    score = piece((50, 50, 60, 100))
    score.tempos.append(TempoTick(0, 60.0))
    assert len(render(score, RATE)) == round((2 + RELEASE) * RATE)


def test_louder_velocity_is_louder() -> None:
    soft, loud = (render(piece((0, 100, 60, velocity)), RATE).pow(2).mean() for velocity in (31, 127))
    assert 100 < loud / soft < 1000


def test_a_key_dies_away_when_it_is_released_and_slowly_when_held() -> None:
    short, long = render(piece((0, 50, 60, 100)), RATE), render(piece((0, 400, 60, 100)), RATE)
    torch.testing.assert_close(short[: RATE // 2], long[: RATE // 2], atol=1e-5, rtol=0)
    assert long[3 * RATE : 4 * RATE].abs().max() < long[:RATE].abs().max()
    assert short[RATE // 2 + 3000 :].abs().max() < 0.1 * long[RATE // 2 + 3000 : RATE].abs().max()


def test_what_would_clip_is_turned_down() -> None:
    audio = render(piece(*((0, 100, pitch, 127) for pitch in range(40, 100))), RATE)
    assert audio.abs().max() <= 1
    assert audio.abs().max() > 0.99


def test_the_same_score_gives_the_same_samples() -> None:
    score = piece((0, 100, 60, 100), (30, 100, 67, 50), (50, 20, 60, 80))
    assert torch.equal(render(score, RATE), render(score, RATE))


def test_every_midi_pitch_sounds_and_silence_is_short() -> None:
    assert all(render(piece((0, 20, pitch, 100)), RATE).abs().max() > 0 for pitch in (0, 20, 109, 127))
    silence = render(ScoreTick(50), RATE)
    assert silence.shape == (RELEASE * RATE,)
    assert silence.abs().max() == 0


def test_a_note_held_for_hours_rings_out() -> None:
    audio = render(piece((0, 20_000, 60, 127)), 1_000)
    assert audio[-1_000:].abs().max() == 0


def test_what_cannot_be_rendered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="sample rate"):
        render(piece((0, 10, 60, 63)), 0)
    soundfont._piano.cache_clear()
    monkeypatch.setattr(soundfont, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pretty-midi"):
        render(piece((0, 10, 60, 63)), RATE)


def test_other_files_are_no_soundfonts() -> None:
    for data in (b"", b"RIFF" + bytes(40)):
        with pytest.raises(ValueError, match="not a SoundFont"):
            read_zones(data, 0)
