"""Small tonal piano pieces, composed from a seed: music to train on when there is no other."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from symusic.core import ControlChangeTick, NoteTick, ScoreTick, TempoTick, TrackTick

from waveletgpt.common.errors import InputError

TICKS_PER_SECOND = 1000  # 500 a beat at a constant 120 bpm; the tempo of the music is in the onsets
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11)  # the minor is harmonic, so that V is major
SCALES = (MAJOR, MAJOR, MINOR)

# Roots as scale degrees (0 is I), and which may follow each: tonic, predominant, dominant, tonic.
FOLLOWING = {0: (3, 5, 1, 4, 2), 1: (4,), 2: (5, 3), 3: (4, 4, 1, 0), 4: (0, 0, 5), 5: (3, 1, 4)}
TONIC, DOMINANT = 0, 4
TO_CHORD = (0, -1, 0, -1, 0, -1, 1)  # from each step above a root to the nearest note of its triad

Rhythms = Mapping[int, Sequence[Sequence[float]]]
RHYTHMS = {  # onsets in a bar, in beats
    3: ((0, 1, 2), (0, 2), (0, 1, 1.5, 2), (0, 1.5, 2), (0, 0.5, 1, 2)),
    4: ((0, 1, 2, 3), (0, 2), (0, 1, 2, 2.5, 3), (0, 1.5, 2, 3), (0, 0.5, 1, 1.5, 2, 3), (0, 2, 3)),
}
MOVES = (-2, -1, -1, -1, 0, 1, 1, 1, 2)
"""Scale steps from one note of a tune to the next."""
LIVELY_RHYTHMS = {
    3: ((0, 1, 2), (0, 1, 1.5, 2), (0, 0.5, 1, 2), (0, 1, 2, 2.5)),
    4: ((0, 1, 2, 3), (0, 1, 2, 2.5, 3), (0, 0.5, 1, 2, 3), (0, 1, 2, 3, 3.5), (0, 1.5, 2, 3)),
}
"""Rhythms without long notes, for `compose_melody`; and its moves, without repeated notes."""
LIVELY_MOVES = (-2, -1, -1, -1, 1, 1, 1, 2)
# Accompaniments: (beat, which notes of the chord sound; 3 is the root an octave up) over one bar.
ACCOMPANIMENTS = {
    3: (
        ((0, (0,)), (1, (1, 2)), (2, (1, 2))),
        ((0, (0,)), (0.5, (1,)), (1, (2,)), (1.5, (3,)), (2, (2,)), (2.5, (1,))),
        ((0, (0, 1, 2)),),
    ),
    4: (
        tuple((i / 2, ((0, 2, 1, 2)[i % 4],)) for i in range(8)),  # Alberti
        ((0, (0,)), (0.5, (1,)), (1, (2,)), (1.5, (3,)), (2, (2,)), (2.5, (1,)), (3, (2,)), (3.5, (1,))),
        ((0, (0, 1, 2)), (2, (0, 1, 2))),
        ((0, (0,)), (1, (1, 2)), (2, (0,)), (3, (1, 2))),
    ),
}

Melody = list[list[tuple[float, int]]]  # per bar: (beat, scale steps above the tonic)


def compose(seed: int, seconds: float) -> ScoreTick:
    """Compose a piece of whole bars, at least two. The same seed gives the same piece.

    It has a key, a metre of 3 or 4, a tempo, and themes of four bars in the order A A B A. The first A of a pair ends
    on a half cadence, the second on a full one. The melody moves mostly by step and has notes of the chord on strong
    beats. The left hand changes its pattern every 16 bars. Dynamics rise and fall with the phrase, onsets vary by a few
    milliseconds, and the pedal changes with the harmony.

    Args:
        seed: decides everything but the length.
        seconds: approximate length.

    Raises:
        InputError: `seconds` is not positive and finite.
    """
    random, scale, tonic, beats, beat, n_bars = _begin(seed, seconds, tempo=(72, 132))
    track = TrackTick("Piano")

    def pitch(step: int) -> int:
        return 60 + tonic + 12 * (step // 7) + scale[step % 7]

    def play(time: float, length: float, step: int, loudness: float) -> None:
        onset = max(0.0, time * beat + random.gauss(0, 0.008))
        velocity = min(max(round(loudness + random.gauss(0, 4)), 1), 127)
        ticks = round(onset * TICKS_PER_SECOND), round(length * beat * TICKS_PER_SECOND)
        track.notes.append(NoteTick(*ticks, pitch(step), velocity))

    chords, melody = _themes(random, n_bars, beats)
    for bar, (root, tune) in enumerate(zip(chords, melody, strict=True)):
        start = bar * beats
        swell = 62 + 22 * math.sin(math.pi * (bar % 4 + 0.5) / 4)
        last = bar == n_bars - 1
        for i, (at, step) in enumerate(tune):
            until = tune[i + 1][0] if i + 1 < len(tune) else beats
            play(start + at, 0.95 * (until - at), step + 7, swell + (8 if at == 0 else 0))
        if bar % 16 == 0:
            pattern = random.choice(ACCOMPANIMENTS[beats])
        for at, voices in ((0, (0, 1, 2)),) if last else pattern:
            for voice in voices:
                step = root - 7 - 7 * (root > 3) + (0, 2, 4, 7)[voice]
                play(start + at, beats if last else 0.9, step, swell - 18)
        for at, value in ((0.1, 127), (beats - 0.05, 0)):
            time = round((start + at) * beat * TICKS_PER_SECOND)
            track.controls.append(ControlChangeTick(time, 64, value))

    track.notes.sort(key=lambda note: (note.time, note.pitch))
    return _score(track)


def compose_melody(seed: int, seconds: float) -> ScoreTick:
    """Compose the tune of a piece alone, at 84 to 112 beats a minute: one note at a time, without pedal.

    Args and errors are those of `compose`.
    """
    random, scale, tonic, beats, beat, n_bars = _begin(seed, seconds, tempo=(84, 112))
    _, melody = _themes(random, n_bars, beats, LIVELY_RHYTHMS, LIVELY_MOVES)
    track = TrackTick("Piano")
    for bar, tune in enumerate(melody):
        for i, (at, step) in enumerate(tune):
            until = tune[i + 1][0] if i + 1 < len(tune) else beats
            onset = round((bar * beats + at) * beat * TICKS_PER_SECOND)
            length = round(0.97 * (until - at) * beat * TICKS_PER_SECOND)
            pitch = 60 + tonic + 12 * (step // 7) + scale[step % 7]
            track.notes.append(NoteTick(onset, length, pitch, 84 if at == 0 else 76))
    return _score(track)


def _begin(
    seed: int, seconds: float, tempo: tuple[float, float]
) -> tuple[Random, tuple[int, ...], int, int, float, int]:
    """Random numbers, scale, tonic, beats in a bar, seconds in a beat, and bars of a piece."""
    if not 0 < seconds < math.inf:
        raise InputError(f"a piece cannot last {seconds} seconds; give a positive number")
    random = Random(seed)  # noqa: S311, not for security
    scale, tonic, beats = random.choice(SCALES), random.randrange(-5, 7), random.choice((3, 4, 4))
    beat = 60 / random.uniform(*tempo)
    return random, scale, tonic, beats, beat, max(2, round(seconds / (beat * beats)))


def _score(track: TrackTick) -> ScoreTick:
    score = ScoreTick(TICKS_PER_SECOND // 2)
    score.tempos.append(TempoTick(0, 120.0))
    score.tracks.append(track)
    return score


def _themes(
    random: Random, n_bars: int, beats: int, rhythms: Rhythms = RHYTHMS, moves: Sequence[int] = MOVES
) -> tuple[list[int], Melody]:
    """The root of each bar's chord and the tune above it, in rounds of A A B A, ending on the tonic."""
    chords: list[int] = []
    melody: Melody = []
    while len(chords) < n_bars:
        first = _progression(random, TONIC)
        second = [*first[:2], DOMINANT, TONIC]
        bridge = _progression(random, random.choice((3, 5)))
        tune = partial(_melody, random, rhythms=rhythms[beats], moves=moves)
        theme, contrast = tune(first), tune(bridge)
        answer = theme[:2] + tune(second[2:], start=theme[1][-1][1])
        for roots, bars in ((first, theme), (second, answer), (bridge, contrast), (second, answer)):
            chords += roots
            melody += bars
    return [*chords[: n_bars - 1], 0], [*melody[: n_bars - 1], [(0, 0)]]


def _progression(random: Random, start: int) -> list[int]:
    """Four roots from `start` to a half cadence."""
    while True:
        roots = [start]
        while len(roots) < 4:
            roots.append(random.choice(FOLLOWING[roots[-1]]))
        if roots[-1] == DOMINANT:
            return roots


def _melody(
    random: Random, chords: Sequence[int], rhythms: Sequence[Sequence[float]], moves: Sequence[int], start: int = 4
) -> Melody:
    """A tune over one chord per bar; its notes on beats 0 and 2 belong to the chord."""
    step, tune = start, []
    for root in chords:
        bar = []
        for at in random.choice(rhythms):
            step = min(max(step + random.choice(moves), -2), 9)
            if at in (0, 2):
                step += TO_CHORD[(step - root) % 7]
            bar.append((at, step))
        tune.append(bar)
    return tune
