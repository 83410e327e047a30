import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.training.preparing.composing import MAJOR, MINOR, TICKS_PER_SECOND, compose, compose_melody


def test_the_seed_decides() -> None:
    assert compose(3, 30) == compose(3, 30)
    tokenizer = MidiTokenizer()
    assert len({tuple(tokenizer.encode(compose(seed, 10)).tolist()) for seed in range(20)}) == 20


@pytest.mark.parametrize("seconds", [10, 60, 240])
def test_it_lasts_about_as_long_as_asked(seconds: float) -> None:
    for seed in range(5):
        assert abs(compose(seed, seconds).end() / TICKS_PER_SECOND - seconds) < 2.5


def test_the_notes_are_of_one_key() -> None:
    for seed in range(20):
        pitches = compose(seed, 30).tracks[0].notes.numpy()["pitch"]
        keys = ({(tonic + step) % 12 for step in scale} for tonic in range(12) for scale in (MAJOR, MINOR))
        assert any(set((pitches % 12).tolist()) <= key for key in keys)


def test_the_opening_comes_back() -> None:
    """The second section A begins with the pitches of the first, four bars later."""
    pitches = compose(5, 60).tracks[0].notes.numpy()["pitch"]
    opening = pitches[:4].tolist()
    assert sum(pitches[i : i + 4].tolist() == opening for i in range(len(pitches))) >= 2


def test_the_end_is_a_tonic_chord() -> None:
    for seed in range(10):
        notes = compose(seed, 20).tracks[0].notes.numpy()
        final = notes["pitch"][notes["time"] > notes["time"].max() - 300]
        assert len(final) == 4
        assert (final.max() - final.min()) % 12 == 0


def test_dynamics_vary() -> None:
    velocities = compose(0, 60).tracks[0].notes.numpy()["velocity"]
    assert np.ptp(velocities) > 30


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**40), st.floats(0.01, 40))
def test_every_piece_can_be_learned_from(seed: int, seconds: float) -> None:
    tokenizer = MidiTokenizer()
    ids = tokenizer.encode(compose(seed, seconds))
    assert torch.equal(tokenizer.encode(tokenizer.decode(ids)), ids)
    assert len(ids) > 15


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_no_length_is_refused(seconds: float) -> None:
    with pytest.raises(InputError):
        compose(0, seconds)


def test_a_melody_has_one_note_at_a_time_and_never_repeats_or_holds_one_long() -> None:
    for seed in range(20):
        score = compose_melody(seed, 30)
        assert not len(score.tracks[0].controls)
        notes = score.tracks[0].notes.numpy()
        starts, ends = notes["time"], notes["time"] + notes["duration"]
        assert (starts[1:] > ends[:-1]).all()
        assert np.diff(starts).max() <= 1.5 * 60 / 84 * TICKS_PER_SECOND + 1
        assert (np.diff(notes["pitch"].astype(int)) != 0).mean() > 0.8
        assert notes["pitch"].min() >= 50 and notes["pitch"].max() <= 88
    assert compose_melody(3, 30) == compose_melody(3, 30)
