"""Fixtures of several test files: tiny checkpoints of every kind, prompts to continue, and a running page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ports import unused_port
from tiny import write_tiny

from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.registry import Tokenizer
from waveletgpt.training import prepare_text

ALPHABET = "".join(sorted("\n !$&+,./1<>?\\`{}" + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
SAMPLE_RATE = 4000  # Hz: fast to generate, and browsers still play it


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: tests run in parallel, and more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Votes of tests are not those of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python's built-in manual as a prepared text dataset."""
    out = tmp_path_factory.mktemp("data") / "manual"
    prepare_text.prepare(prepare_text.Config(source="builtin", out=out, workers=0))
    return out


@pytest.fixture(scope="session")
def save_tiny() -> Callable[..., Path]:
    """`save_tiny(directory, modality, tokenizer, mixer, vocab_size)` writes a checkpoint of an untrained model."""
    return write_tiny


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the checkpoints `{text,audio,music}-{baseline,haar}`."""
    directory = tmp_path_factory.mktemp("checkpoints")
    tokenizers: dict[str, Tokenizer] = {
        "text": CharacterTokenizer(ALPHABET),
        "audio": MuLawTokenizer(sample_rate=SAMPLE_RATE),
        "music": MidiTokenizer(),
    }
    for modality, tokenizer in tokenizers.items():
        for name, mixer in (("baseline", "none"), ("haar", "haar")):
            write_tiny(directory / f"{modality}-{name}", modality, tokenizer, mixer)
    return directory


@pytest.fixture(scope="session")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WAV file: two seconds of 440 Hz, stereo, at 8 kHz."""
    path = tmp_path_factory.mktemp("prompts") / "tone.wav"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8000)
    soundfile.write(path, np.stack([tone, tone], axis=1), 8000)
    return path


@pytest.fixture(scope="session")
def midi_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MIDI file: a C major scale, two notes a second."""
    from symusic.core import NoteTick, ScoreTick, TempoTick, TrackTick

    score, track = ScoreTick(480), TrackTick("Piano")
    score.tempos.append(TempoTick(0, 120.0))
    for i, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72)):
        track.notes.append(NoteTick(480 * i, 400, pitch, 80))
    score.tracks.append(track)
    path = tmp_path_factory.mktemp("prompts") / "scale.mid"
    path.write_bytes(score.dumps_midi())
    return path


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that no program listens on."""
    return unused_port()


@pytest.fixture(scope="session")
def page_url(tiny_checkpoints: Path) -> Iterator[str]:
    """The address of a running page that serves the tiny checkpoints."""
    from waveletgpt.app.web.page import open_page

    page = open_page(tiny_checkpoints, "127.0.0.1", unused_port(), block=False)
    yield page.local_url
    page.close()
