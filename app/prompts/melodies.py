"""The beginnings of six tunes in the public domain, played on the piano of the SoundFont: one voice, or two."""

from functools import cache

from torch import Tensor

from waveletgpt.app.prompts.notation import Piece, Voice, play
from waveletgpt.tokenizers.audio.waveform import normalize_loudness
from waveletgpt.tokenizers.piano.soundfont import render

SAMPLE_RATE = 16_000  # Hz

MELODIES = (
    Piece(
        "bach-prelude",
        "Bach: Prelude in C, BWV 846",
        72,
        (Voice(76, "C4:1/4 E4 G4 C5 E5 G4 C5 E5 C4 E4 G4 C5 E5 G4 C5 E5"),),
    ),
    Piece(
        "minuet",
        "Petzold: Minuet in G, BWV Anh. 114",
        100,
        (Voice(76, "D5:1 G4:1/2 A4 B4 C5 | D5:1 G4 G4"),),
    ),
    Piece(
        "fur-elise",
        "Beethoven: Für Elise",
        66,
        (Voice(76, "E5:1/4 D#5 | E5 D#5 E5 B4 D5 C5 | A4:3/4 C4:1/4 E4 A4 | B4:1/2"),),
    ),
    Piece(
        "moonlight",
        "Beethoven: Moonlight Sonata",
        64,
        (Voice(76, "G#3:1/3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4"),),
    ),
    Piece(
        "mozart-sonata",
        "Mozart: Sonata in C, K. 545",
        66,  # half notes a minute: the lengths are half of those in the score
        (Voice(76, "C5:1 E5:1/2 G5 | B4:3/4 C5:1/8 D5 C5:1/2"),),
    ),
    Piece(
        "chopin-prelude",
        "Chopin: Prelude in E minor, Op. 28 No. 4",
        100,
        (Voice(76, "B3:3/4 B4:1/4 | B4:3 C5:1"), Voice(52, "r:1 | E4:1/2 E4 E4 E4 E4 E4 E4 E4")),
    ),
)


@cache
def sound(melody: Piece) -> Tensor:
    """A melody as the waveform (S,) at `SAMPLE_RATE`, with the loudness of prompts, up to where its last key comes up.

    The silence after that is cut off, since a model would continue it.
    """
    waveform = render(play(melody), SAMPLE_RATE)
    return normalize_loudness(waveform[: round(melody.seconds * SAMPLE_RATE)])
