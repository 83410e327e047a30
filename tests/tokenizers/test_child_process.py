"""MIDI files that are read in a child process, which may die without harm."""

import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from waveletgpt.app.modalities.base import load_modality
from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.piano import child_process
from waveletgpt.tokenizers.piano.child_process import read_midi_in_child
from waveletgpt.tokenizers.piano.performance import read_midi


def smf(track: bytes) -> bytes:
    return struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, 480, b"MTrk", len(track)) + track


def test_a_child_reads_what_this_process_reads(midi_file: Path) -> None:
    assert read_midi_in_child(midi_file) == read_midi(midi_file)


def test_a_child_refuses_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "wörds and spaces.mid"
    path.write_bytes(smf(b"\x00\x9f\x80\x50\x83\x60\x8f\x80\x40\x00\xff\x2f\x00"))
    messages = []
    for read in (read_midi, read_midi_in_child):
        with pytest.raises(InputError) as error:
            read(path)
        messages.append(str(error.value))
    assert messages[0] == messages[1] == f"{path}: a damaged MIDI file (a data byte of 128, above 127, in track 1)"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(
    ("script", "says"), [("kill -SEGV $$", "cannot be read"), ("exec sleep 600", "takes more than 2 seconds")]
)
def test_a_prompt_whose_child_dies_or_hangs_is_refused(
    midi_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    shell = tmp_path / "python"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(shell))
    monkeypatch.setattr(child_process, "MAX_SECONDS", 2.0)
    with pytest.raises(InputError, match=says) as error:
        load_modality("music").read_prompt(midi_file, MidiTokenizer())
    assert str(error.value).startswith(f"{midi_file}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own size in /proc")
def test_a_child_that_needs_too_much_memory_refuses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.mid"
    path.write_bytes(smf(b"\x01\x90\x3c\x50" * 200_000))
    code = (
        "from pathlib import Path; from waveletgpt.tokenizers.piano import child_process as c\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        "c.MAX_MEMORY = 4096 * pages + (4 << 20); c.run_command(c.main)"
    )
    child = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert child.stderr.startswith(f"error: {path}: takes more than ") and child.stderr.count("\n") == 1
