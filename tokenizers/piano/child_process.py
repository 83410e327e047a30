"""Reads MIDI files from strangers in a child process, with a limit on memory and on time.

`read_notes` checks each byte and refuses large files, and no library parses them. The child is a second line of
defence: a defect that these checks do not foresee ends the child, not the app.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from symusic.core import ScoreTick

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.piano.performance import piano_score, read_notes

if sys.platform != "win32":
    import resource

MAX_MEMORY = 1 << 30  # bytes of address space, interpreter and libraries included
MAX_SECONDS = 60.0  # wall clock; the largest files take 10 on an idle machine


def read_midi_in_child(path: Path) -> ScoreTick:
    """`read_midi` in a child process. Its limit on memory needs a Unix system.

    Raises:
        InputError: `read_midi` refuses the file, or the child needs too much memory or time, or dies.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # its threads reserve address space
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: takes more than {MAX_SECONDS:g} seconds to read; give a shorter piece") from None
    if child.returncode == 2:
        raise InputError(child.stderr.decode(errors="replace").strip().removeprefix("error: "))
    if child.returncode:
        raise InputError(f"{path}: cannot be read (status {child.returncode} of the process); give another MIDI file")
    return piano_score(*np.frombuffer(child.stdout, np.int64).reshape(4, -1))


def main() -> None:
    """Write the notes of the file that the command line names to standard output, as raw int64 (4, N)."""
    path = Path(sys.argv[1])
    if sys.platform != "win32":
        with suppress(ValueError):  # a lower limit holds already
            resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    try:
        notes = read_notes(path)
    except MemoryError:
        raise InputError(f"{path}: takes more than {MAX_MEMORY >> 20} MB to read; give a shorter piece") from None
    sys.stdout.buffer.write(notes.tobytes())


if __name__ == "__main__":
    run_command(main)
