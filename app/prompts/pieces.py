"""The first bars of six piano pieces in the public domain, for both hands."""

from waveletgpt.app.prompts.notation import Piece, Voice

PIECES = (
    Piece(
        "bach-prelude",
        "Bach: Prelude in C, BWV 846",
        84,
        (
            Voice(
                54,
                "r:1/2 G4:1/4 C5 E5 G4 C5 E5 r:1/2 G4:1/4 C5 E5 G4 C5 E5 |"
                "r:1/2 A4:1/4 D5 F5 A4 D5 F5 r:1/2 A4:1/4 D5 F5 A4 D5 F5 |"
                "r:1/2 G4:1/4 D5 F5 G4 D5 F5 r:1/2 G4:1/4 D5 F5 G4 D5 F5 |"
                "r:1/2 G4:1/4 C5 E5 G4 C5 E5 r:1/2 G4:1/4 C5 E5 G4 C5 E5",
            ),
            Voice(
                50,
                "r:1/4 E4:7/4 r:1/4 E4:7/4 | r:1/4 D4:7/4 r:1/4 D4:7/4 |"
                "r:1/4 D4:7/4 r:1/4 D4:7/4 | r:1/4 E4:7/4 r:1/4 E4:7/4",
            ),
            Voice(52, "C4:2 C4 | C4 C4 | B3 B3 | C4 C4"),
        ),
        pedal="P:4 | P | P | P",
    ),
    Piece(
        "minuet",
        "Petzold: Minuet in G, BWV Anh. 114",
        126,
        (
            Voice(
                64,
                "D5:1 G4:1/2 A4 B4 C5 | D5:1 G4 G4 | E5 C5:1/2 D5 E5 F#5 | G5:1 G4 G4 |"
                "C5 D5:1/2 C5 B4 A4 | B4:1 C5:1/2 B4 A4 G4 | F#4:1 G4:1/2 A4 B4 G4 | A4:3",
            ),
            Voice(54, "G3+B3+D4:2 A3:1 | B3:3 | C4 | B3 | A3 | G3 | D4:1 B3 G3 | D4 D3:1/2 C4 B3 A3"),
        ),
        legato=0.88,
    ),
    Piece(
        "fur-elise",
        "Beethoven: Für Elise",
        72,
        (
            Voice(
                52,
                "E5:1/4 D#5 | E5 D#5 E5 B4 D5 C5 | A4:1/2 r:1/4 C4 E4 A4 | B4:1/2 r:1/4 E4 G#4 B4 |"
                "C5:1/2 r:1/4 E4 E5 D#5 | E5 D#5 E5 B4 D5 C5 | A4:1/2 r:1/4 C4 E4 A4 | B4:1/2 r:1/4 E4 C5 B4 | A4:1",
            ),
            Voice(
                44,
                "r:1/2 | r:3/2 | A2:1/4 E3 A3 r:3/4 | E2:1/4 E3 G#3 r:3/4 |"
                "A2:1/4 E3 A3 r:3/4 | r:3/2 | A2:1/4 E3 A3 r:3/4 | E2:1/4 E3 G#3 r:3/4 | A2:1/4 E3 A3:1/2",
            ),
        ),
        pedal="r:1/2 | r:3/2 | P | P | P:1 r:1/2 | r:3/2 | P | P:1 r:1/2 | P:1",
    ),
    Piece(
        "moonlight",
        "Beethoven: Moonlight Sonata",
        63,
        (
            Voice(
                42,
                "G#3:1/3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4 |"
                "G#3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4 G#3 C#4 E4 |"
                "A3 C#4 E4 A3 C#4 E4 A3 D4 F#4 A3 D4 F#4",
            ),
            Voice(46, "C#2+C#3:4 | B1+B2 | A1+A2:2 F#1+F#2"),
        ),
        pedal="P:4 | P | P:2 P",
    ),
    Piece(
        "mozart-sonata",
        "Mozart: Sonata in C, K. 545",
        128,
        (
            Voice(
                64,
                "C5:2 E5:1 G5 | B4:3/2 C5:1/4 D5 C5:1 r | A5:2 G5:1 C6 | G5 F5:1/8 G5 F5 G5 E5:1/4 F5 E5:1 r",
            ),
            Voice(
                50,
                "C4:1/2 G4 E4 G4 C4 G4 E4 G4 | D4 G4 F4 G4 C4 G4 E4 G4 |"
                "C4 A4 F4 A4 C4 G4 E4 G4 | B3 G4 D4 G4 C4 G4 E4 G4",
            ),
        ),
        legato=0.92,
    ),
    Piece(
        "chopin-prelude",
        "Chopin: Prelude in E minor, Op. 28 No. 4",
        60,
        (
            Voice(60, "B3:3/4 B4:1/4 | B4:3 C5:1 | B4:3 C5:1"),
            Voice(
                40,
                "r:1 | G3+B3+E4:1/2 G3+B3+E4 G3+B3+E4 G3+B3+E4 G3+B3+E4 G3+B3+E4 G3+B3+E4 G3+B3+E4 |"
                "F#3+A3+E4 F#3+A3+E4 F#3+A3+E4 F#3+A3+E4 F#3+A3+D#4 F#3+A3+D#4 F#3+A3+D#4 F#3+A3+D#4",
            ),
        ),
        pedal="r:1 | P:3 P:1 | P:2 P:1 P",
    ),
)
