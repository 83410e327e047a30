import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.piano.midi_events import (
    EVENTS_SHA256,
    NOTE_OFF,
    NOTE_ON,
    PAD,
    TIME_SHIFT,
    VELOCITY,
)
from waveletgpt.training.modalities.augmentation import augmentation, draws
from waveletgpt.training.modalities.base import Pair
from waveletgpt.training.modalities.music import SEMITONES, STRETCHES, augment, stretch, transpose
from waveletgpt.training.preparing.composing import compose

tokenizer = MidiTokenizer()
DESCRIPTION = tokenizer.to_dict()

# Any ids, piano notes, any time shift, and only the shortest and longest time shifts.
tokens = st.one_of(
    st.integers(0, 388),
    st.integers(NOTE_ON[21], NOTE_ON[108]),
    st.sampled_from(TIME_SHIFT),
    st.sampled_from([TIME_SHIFT[0], TIME_SHIFT[98], TIME_SHIFT[99]]),
)
windows = st.integers(2, 40).flatmap(
    lambda length: st.lists(st.lists(tokens, min_size=length, max_size=length), min_size=1, max_size=4).map(np.array)
)


def steps(ids: np.ndarray) -> np.ndarray:
    """The duration of each id, in steps of 10 ms."""
    return np.where(np.isin(ids, TIME_SHIFT), ids - TIME_SHIFT.start + 1, 0)


def pitches(ids: np.ndarray) -> np.ndarray:
    """The pitch of each note-on or note-off id, and -1 for other ids."""
    return np.where(np.isin(ids, NOTE_ON), ids - NOTE_ON.start, np.where(np.isin(ids, NOTE_OFF), ids - 129, -1))


def kinds(ids: np.ndarray) -> np.ndarray:
    """The kind of each id: 0 PAD, 1 note on, 2 note off, 3 velocity, 4 time shift."""
    return np.searchsorted([NOTE_ON.start, NOTE_OFF.start, VELOCITY.start, TIME_SHIFT.start], ids, side="right")


def whole(pair: Pair) -> np.ndarray:
    """The windows (B, T + 1) whose inputs and targets these are."""
    inputs, targets = pair
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])
    return np.concatenate([inputs[:, :1], targets], axis=1)


def pauses(ids: np.ndarray) -> list[slice]:
    """The runs of time shifts in one window."""
    edges = np.flatnonzero(np.diff(np.isin(ids, TIME_SHIFT), prepend=False, append=False))
    return [slice(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def test_the_table_of_ids_is_the_vocabulary() -> None:
    names = list(tokenizer._events.vocab)
    assert names[PAD].startswith("PAD")
    assert [names[i] for i in NOTE_ON] == [f"NoteOn_{pitch}" for pitch in range(128)]
    assert [names[i] for i in NOTE_OFF] == [f"NoteOff_{pitch}" for pitch in range(128)]
    assert all(names[i].startswith("Velocity_") for i in VELOCITY)
    assert tokenizer._steps[list(TIME_SHIFT)].tolist() == list(range(1, 101))
    assert len(names) == TIME_SHIFT.stop
    assert DESCRIPTION["events_sha256"] == EVENTS_SHA256


@settings(deadline=None)
@given(windows, st.data())
def test_transposing_moves_all_notes_alike_and_nothing_else(ids: np.ndarray, data: st.DataObject) -> None:
    semitones = np.array(data.draw(st.lists(st.sampled_from(SEMITONES), min_size=len(ids), max_size=len(ids))))
    before = ids.copy()
    moved = transpose(ids, semitones)
    assert np.array_equal(ids, before)
    assert np.array_equal(kinds(moved), kinds(ids))
    for old, new, asked in zip(ids, moved, semitones, strict=True):
        notes = pitches(old) >= 0
        assert np.array_equal(old[~notes], new[~notes])
        if not notes.any():
            continue
        (shift,) = set((pitches(new) - pitches(old))[notes].tolist())
        assert shift * asked >= 0
        assert abs(shift) <= abs(asked)
        low, high = pitches(old)[notes].min(), pitches(old)[notes].max()
        assert min(low, 21) <= pitches(new)[notes].min()
        assert pitches(new)[notes].max() <= max(high, 108)
        if shift != asked:  # one more semitone would move a note off the keyboard
            assert low + shift <= 21 if asked < 0 else high + shift >= 108


@settings(deadline=None, max_examples=200)
@given(windows, st.data())
def test_stretching_scales_time_to_the_step(ids: np.ndarray, data: st.DataObject) -> None:
    factors = np.array(data.draw(st.lists(st.floats(0.95, 1.05), min_size=len(ids), max_size=len(ids))))
    before = ids.copy()
    stretched = stretch(ids, factors)
    assert np.array_equal(ids, before)
    assert np.array_equal(kinds(stretched), kinds(ids))  # every time shift still has 1 to 100 steps
    for old, new, factor in zip(ids, stretched, factors, strict=True):
        still = ~np.isin(old, TIME_SHIFT)
        assert np.array_equal(old[still], new[still])
        late = steps(new).cumsum() - steps(old).cumsum() * factor
        for pause in pauses(old):
            lengths = steps(new[pause])
            off = late[pause.stop - 1]
            if factor < 1:
                assert off >= -0.5 - 1e-9
                assert off <= 0.5 + 1e-9 or (lengths == 1).all()
            elif factor > 1:
                assert off <= 0.5 + 1e-9
                assert off >= -0.5 - 1e-9 or (lengths == 100).all()
            if factor != 1:  # the longest shifts come first, then the rest
                assert all(a == 100 or b == 1 for a, b in pairwise(lengths.tolist()))
            else:
                assert np.array_equal(old[pause], new[pause])


def test_real_timing_is_within_half_a_step_nearly_everywhere() -> None:
    ids = np.stack([tokenizer.encode(compose(seed, 60.0))[:400].numpy() for seed in range(8)])
    for factor in STRETCHES:
        stretched = stretch(ids, np.full(len(ids), factor))
        off = np.abs(steps(stretched).cumsum(1) - factor * steps(ids).cumsum(1))
        assert (off <= 0.5 + 1e-9).mean() > 0.95
        assert off.max() < 6
        assert abs(steps(stretched).sum() / steps(ids).sum() - factor) < 1e-3


@pytest.mark.parametrize("factor", [0.95, 0.975])  # below 1, so that every pause still fits in its ids
def test_a_transposed_and_stretched_piece_is_the_piece_in_another_key_and_tempo(factor: float) -> None:
    ids = tokenizer.encode(compose(3, 30.0)).numpy()[None]
    notes = tokenizer.decode(torch.from_numpy(ids[0])).tracks[0].notes.numpy()
    changed = stretch(transpose(ids, np.array([-2])), np.array([factor]))
    heard = tokenizer.decode(torch.from_numpy(changed[0])).tracks[0].notes.numpy()
    order = np.lexsort((heard["pitch"], heard["time"]))
    assert np.array_equal(heard["pitch"][order] + 2, notes["pitch"])
    assert np.array_equal(heard["velocity"][order], notes["velocity"])
    assert np.abs(heard["time"][order] - factor * notes["time"]).max() < 1.5
    assert np.abs(heard["duration"][order] - factor * notes["duration"]).max() < 2


@settings(deadline=None)
@given(windows)
def test_no_change_is_the_identity(ids: np.ndarray) -> None:
    assert np.array_equal(transpose(ids, np.zeros(len(ids), int)), ids)
    assert np.array_equal(stretch(ids, np.ones(len(ids))), ids)


@settings(deadline=None)
@given(windows, st.integers(0, 2**63 - 1), st.integers(0, 10**9))
def test_any_augmented_window_can_be_decoded_and_a_pad_stays_one(ids: np.ndarray, seed: int, step: int) -> None:
    augmented = whole(augmentation("music", DESCRIPTION, seed)(ids, step, range(len(ids))))
    assert augmented.shape == ids.shape
    assert augmented.dtype == ids.dtype
    assert np.array_equal(augmented == PAD, ids == PAD)
    for window in augmented:
        tokenizer.decode(torch.from_numpy(window))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_together_make_the_batch_of_one(world: int) -> None:
    ids = np.stack([tokenizer.encode(compose(seed, 20.0))[:200].numpy() for seed in range(8)])
    change = augmentation("music", DESCRIPTION, seed=5)
    together = whole(change(ids, 17, range(8)))
    for rank in range(world):
        assert np.array_equal(whole(change(ids[rank::world], 17, range(8)[rank::world])), together[rank::world])
    assert np.array_equal(whole(change(ids, 17, range(8))), together)
    assert not np.array_equal(whole(change(ids, 18, range(8))), together)
    other = augmentation("music", DESCRIPTION, seed=6)
    assert not np.array_equal(whole(other(ids, 17, range(8))), together)


def test_draws_depend_on_seed_step_and_place_alone() -> None:
    rows = draws(3, 4, range(64))
    assert np.array_equal(draws(3, 4, [63, 7, 7]), rows[[63, 7, 7]])
    assert draws(3, 4, []).shape == (0, 2)
    assert len(np.unique(rows)) == rows.size
    assert not np.intersect1d(rows, draws(3, 5, range(64))).size
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, 4]))).random(128)
    assert not np.intersect1d(rows, order).size  # the order of the data is drawn from [seed, step]


def test_all_keys_and_tempos_come_equally_often() -> None:
    ids = np.tile([NOTE_ON[60], *[TIME_SHIFT[99], TIME_SHIFT[49]] * 4], (7000, 1))
    changed = whole(augment(DESCRIPTION)(ids, draws(0, 0, range(7000))))
    _, keys = np.unique(changed[:, 0], return_counts=True)
    _, tempos = np.unique(steps(changed).sum(1), return_counts=True)
    assert len(keys) == 7
    assert len(tempos) == 5
    assert keys.min() > 900
    assert tempos.min() > 1250


def test_text_is_not_augmented_and_other_events_are_refused() -> None:
    ids = np.arange(389)[None]
    assert np.array_equal(whole(augmentation("text", {"kind": "characters"}, 0)(ids, 0, [0])), ids)
    with pytest.raises(InputError, match="--augment") as refusal:
        augmentation("music", DESCRIPTION | {"events_sha256": "0"}, 0)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.slow
def test_augmenting_imports_no_library_for_midi(tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from waveletgpt.training.modalities.augmentation import augmentation\n"
        "augmentation('music', json.loads(sys.argv[1]), 0)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'miditok', 'symusic', 'gradio', 'torchaudio'}))"
    )
    command = [sys.executable, "-c", code, json.dumps(DESCRIPTION)]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
