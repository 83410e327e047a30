"""Damages MIDI files in many ways, with right lengths, and reads them: `python fuzz_midi.py COUNT [FIRST_SEED]`.

Each must be music that a piano can play, or an InputError of one line. Prints how many were read and refused.
"""

import sys
import tempfile
from pathlib import Path
from random import Random

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano.performance import read_midi
from waveletgpt.training.preparing.composing import compose

HEADER = 14


def damaged(whole: bytes, random: Random) -> bytes:
    """`whole` with one to four bytes after its headers changed, removed or added. The track's length is mended."""
    track = bytearray(whole[HEADER + 8 :])
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(track))
        value = random.choice((random.randrange(256), random.randrange(128), random.randrange(128), 0xFF, 0x80, 0))
        how = random.random()
        track[at : at + (how < 0.8)] = [] if how < 0.2 else [value]
    header = bytearray(whole[:HEADER])
    if random.random() < 0.1:
        header[random.randrange(8, HEADER)] = random.randrange(256)
    return bytes(header) + b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def main(count: int, first: int) -> None:
    """Damage and read `count` files, with the seeds from `first` on."""
    read = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piece.mid"
        whole = compose(0, 3.0).dumps_midi()
        for seed in range(first, first + count):
            path.write_bytes(damaged(whole, Random(seed)))
            try:
                notes = read_midi(path).tracks[0].notes
            except InputError as error:
                assert len(str(error).splitlines()) == 1, error
                continue
            read += 1
            assert len(notes)
            assert all(0 <= n.pitch <= 127 and 0 < n.velocity <= 127 and n.time >= 0 < n.duration for n in notes), seed
    print(read, count - read)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
