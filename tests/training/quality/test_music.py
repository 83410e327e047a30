"""Measures of music, compared with hand computations and with pretty-midi."""

from io import BytesIO

import numpy as np
import pretty_midi
import pytest
import torch
from symusic.core import NoteTick, ScoreTick, TempoTick, TrackTick
from torch import Tensor

from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.training.quality.music import (
    MusicMeasures,
    effective_number,
    inter_onsets,
    pitch_classes,
    repetition,
)

Notes = list[tuple[float, float, int]]


@pytest.fixture(scope="module")
def tokenizer() -> MidiTokenizer:
    return MidiTokenizer()


def encoded(tokenizer: MidiTokenizer, notes: Notes) -> Tensor:
    """Token ids of the notes, each given as (onset in seconds, length, pitch)."""
    score, track = ScoreTick(50), TrackTick("Piano")
    score.tempos.append(TempoTick(0, 120.0))
    for onset, length, pitch in notes:
        track.notes.append(NoteTick(round(100 * onset), round(100 * length), pitch, 80))
    score.tracks.append(track)
    return tokenizer.encode(score)


def test_density_and_rhythm_of_a_scale(tokenizer: MidiTokenizer) -> None:
    scale = encoded(tokenizer, [(0.5 * i, 0.25, 60 + i) for i in range(12)])
    numbers = MusicMeasures(tokenizer).numbers(scale)
    assert numbers["notes_per_second"] == pytest.approx(12 / 5.75)
    assert numbers["notes_at_once"] == pytest.approx(12 * 0.25 / 5.75)
    assert numbers["pitch_classes"] == pytest.approx(12)
    assert numbers["inter_onset"] == pytest.approx(0.5)
    assert numbers["repetition"] == pytest.approx(7 / 8)  # every interval is one semitone up
    shapes = MusicMeasures(tokenizer).histograms(scale)
    assert shapes["inter_onset_overlap"][10] == 1
    assert shapes["pitch_class_overlap"] == pytest.approx(np.full(12, 1 / 12))


def test_notes_of_a_chord_begin_together() -> None:
    onsets = np.array([0, 2, 5, 6, 50, 100])
    assert inter_onsets(onsets).tolist() == [6, 44, 50]
    steps = [2, -1, 3, 0]
    tops = np.cumsum([60, *steps, *steps, 7])
    onsets = np.repeat(np.arange(len(tops)) * 30, 2)
    pitches = np.stack([tops - 12, tops], axis=1).flatten()  # each top note with the note an octave below it
    assert repetition(onsets, pitches) == pytest.approx(1 / 6)


def test_music_in_another_key_has_the_same_pitch_classes(tokenizer: MidiTokenizer) -> None:
    tune = [(0.0, 0.4, 60), (0.5, 0.4, 60), (1.0, 0.4, 64), (1.5, 0.4, 67)]
    higher = [(onset, length, pitch + 5) for onset, length, pitch in tune]
    one, two = (MusicMeasures(tokenizer).histograms(encoded(tokenizer, notes)) for notes in (tune, higher))
    assert one["pitch_class_overlap"] == pytest.approx(two["pitch_class_overlap"])


def test_pretty_midi_counts_alike(tokenizer: MidiTokenizer) -> None:
    random = np.random.default_rng(0)
    onsets = np.sort(random.integers(0, 3000, 200)) / 100
    notes = [(float(onset), float(random.integers(5, 80)) / 100, int(random.integers(30, 90))) for onset in onsets]
    ids = encoded(tokenizer, notes)
    score = tokenizer.decode(ids)
    theirs = pretty_midi.PrettyMIDI(BytesIO(score.dumps_midi()))
    ours = MusicMeasures(tokenizer)
    played = score.tracks[0].notes.numpy()
    assert pitch_classes(played["pitch"].astype(np.int64)) == pytest.approx(
        theirs.get_pitch_class_histogram(use_duration=False, use_velocity=False, normalize=True)
    )
    first, last = theirs.get_onsets()[0], theirs.get_end_time()
    assert ours.numbers(ids)["notes_per_second"] == pytest.approx(len(theirs.instruments[0].notes) / (last - first))
    roll = theirs.get_piano_roll(fs=100)[:, round(100 * first) :] > 0
    assert ours.numbers(ids)["notes_at_once"] == pytest.approx(roll.sum(0).mean(), rel=0.02)


def test_silence_has_no_figures(tokenizer: MidiTokenizer) -> None:
    measures = MusicMeasures(tokenizer)
    assert all(np.isnan(value) for value in measures.numbers(torch.zeros(3, dtype=torch.long)).values())
    assert not any(shape.any() for shape in measures.histograms(torch.zeros(3, dtype=torch.long)).values())


def test_the_effective_number_is_that_of_equal_shares() -> None:
    assert effective_number(np.array([0.25] * 4 + [0.0])) == pytest.approx(4)
    assert effective_number(np.array([1.0, 0.0])) == pytest.approx(1)
