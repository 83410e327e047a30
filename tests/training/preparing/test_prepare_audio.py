import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.audio.audio_file import read_audio
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import prepare_audio
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo
from waveletgpt.training.prepare_audio import Config, prepare
from waveletgpt.training.quality.audio import notes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The path of an output directory that does not exist yet, in an empty folder."""
    return tmp_path / "prepared" / "data"


def prepared(source: Path | str, out: Path, **settings: Any) -> DatasetInfo:
    return prepare(Config(source=str(source), out=out, **{"sample_rate": 8000, "workers": 0, **settings}))


def refused(source: Path | str, out: Path, **settings: Any) -> str:
    """The one-line error for a source that cannot be used."""
    with pytest.raises(InputError) as refusal:
        prepared(source, out, **settings)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert not out.exists()
    return message


def write_tone(path: Path, seconds: float, rate: int = 8000, channels: int = 1, frequency: float = 440) -> Path:
    times = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * math.pi * frequency * times)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
    return path


def split_of(info: DatasetInfo) -> dict[str, str]:
    return {name: split for split in SPLITS for name in info.files[split]}


def test_recordings_become_samples(source: Path, out: Path) -> None:
    """Recordings may be mono or stereo, in several formats and at several sample rates."""
    for i in range(10):
        write_tone(source / f"mono {i}.wav", 0.5)
    write_tone(source / "stereo.flac", 0.5, channels=2)
    write_tone(source / "fast.ogg", 0.5, rate=44100)
    info = prepared(source, out, name="tones", licence="CC0")
    dataset = Dataset.open(out, modality="audio")
    assert (info.vocab_size, info.source, info.licence, info.skipped) == (256, "tones", "CC0", [])
    assert sum(facts["pieces"] for facts in info.splits.values()) == 12
    assert sum(facts["tokens"] for facts in info.splits.values()) == pytest.approx(12 * 4000, abs=40)
    tokenizer = tokenizer_from_dict(info.tokenizer)
    assert tokenizer == MuLawTokenizer(8000)
    for split in SPLITS:
        tokens = dataset.tokens(split)
        assert tokens.dtype == np.uint8
        waveform = tokenizer.decode(torch.from_numpy(tokens[:4000].astype(np.int64)))
        spectrum = torch.fft.rfft(waveform).abs()
        assert spectrum.argmax() == 220  # 220 periods in half a second: 440 Hz
        assert waveform.square().mean().sqrt() == pytest.approx(0.1, rel=0.05)  # -20 dBFS


def test_files_stand_in_the_order_in_which_they_are_listed(source: Path, out: Path) -> None:
    for i in range(12):
        write_tone(source / f"{i}.wav", 0.1 + i / 100, frequency=200 + 50 * i)
    info = prepared(source, out)
    assert sorted(split_of(info)) == sorted(f"{i}.wav" for i in range(12))
    for split in SPLITS:
        assert list(info.files[split]) == sorted(info.files[split])
        expected = [MuLawTokenizer(8000).encode(read_audio(source / name, 8000)) for name in info.files[split]]
        assert Dataset.open(out).tokens(split).tolist() == torch.cat(expected).tolist()
        assert list(info.files[split].values()) == [len(ids) for ids in expected]


def test_excerpts_of_one_recording_stay_on_one_side(source: Path, out: Path) -> None:
    names = [f"part {i}" for i in range(12)]
    for name in names:
        write_tone(source / f"{name}.wav", 0.05)
    together = (",".join(names[:4]), ",".join(names[3:6]))
    splits = split_of(prepared(source, out, keep_together=together))
    assert len({splits[f"{name}.wav"] for name in names[:6]}) == 1
    assert set(splits.values()) == set(SPLITS)


def test_albums_may_number_their_tracks_alike(source: Path, out: Path) -> None:
    """Where two files share a name, the folder and the suffix are added to it."""
    for album in "abc":
        for track in ("01.wav", "02.flac"):
            write_tone(source / album / track, 0.05)
    write_tone(source / "a" / "alone.wav", 0.05)
    splits = split_of(prepared(source, out, keep_together=("a/01.wav,b/02.flac,alone",)))
    assert len(splits) == 7
    assert splits["a/01.wav"] == splits["b/02.flac"] == splits["a/alone.wav"]
    assert "files that are not there: 01" in refused(source, out.parent / "other", keep_together=("01,alone",))


def test_recordings_that_cannot_be_read_are_skipped_and_listed(source: Path, out: Path) -> None:
    """Unreadable files do not change the data of the others. --keep-together may name unreadable files."""
    for i in range(5):
        write_tone(source / f"{i}.wav", 0.1)
    expected = prepared(source, out).splits
    (source / "text.wav").write_bytes(b"no sound")
    (source / "empty.wav").write_bytes(b"")
    (source / "cut.wav").write_bytes((source / "0.wav").read_bytes()[:20])
    soundfile.write(source / "silent.wav", np.zeros(0), 8000)
    soundfile.write(source / "nan.wav", np.array([0, math.nan]), 8000, subtype="FLOAT")
    info = prepared(source, out, keep_together=("0,text",))
    assert info.splits == expected
    corrupt = "corrupt, or not a WAV, FLAC, OGG or MP3 file"
    assert info.skipped == [
        {"file": "cut.wav", "why": corrupt},
        {"file": "empty.wav", "why": corrupt},
        {"file": "nan.wav", "why": "sample 1 is not a finite number"},
        {"file": "silent.wav", "why": "the audio holds no samples"},
        {"file": "text.wav", "why": corrupt},
    ]
    with zipfile.ZipFile(source / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.glob("*.wav")):
            archive.write(path, path.name)
    packed = bytearray((source / "all.zip").read_bytes())
    packed[packed.index(b"4.wav") + 50] ^= 255
    (source / "all.zip").write_bytes(packed)
    info = prepared(source / "all.zip", out)
    assert [skipped["file"] for skipped in info.skipped] == [
        *("4.wav", "cut.wav", "empty.wav", "nan.wav", "silent.wav", "text.wav")
    ]
    assert info.skipped[0]["why"].startswith("is damaged and cannot be unpacked")
    assert [path.name for path in out.parent.iterdir()] == ["data"]


def test_an_mp3_is_prepared_whole_or_listed(source: Path, out: Path) -> None:
    """Joined ones are read to their end; one that ends early is left out, with the reason."""
    times = np.arange(44100) / 44100
    soundfile.write(source / "0.mp3", 0.3 * np.sin(2 * math.pi * 440 * times), 44100)
    one = (source / "0.mp3").read_bytes()
    for i in range(1, 4):
        (source / f"{i}.mp3").write_bytes(one * i)
    (source / "cut.mp3").write_bytes(one[: len(one) // 2])
    info = prepared(source, out)
    lengths = {name: tokens for files in info.files.values() for name, tokens in files.items()}
    assert lengths == {"0.mp3": 8000, "1.mp3": 8000, "2.mp3": 16_000, "3.mp3": 24_000}
    assert [entry["file"] for entry in info.skipped] == ["cut.mp3"]
    assert info.skipped[0]["why"].startswith("cut off: it holds 0.")


def test_too_little_that_can_be_read_is_refused(source: Path, out: Path) -> None:
    for i in range(2):
        write_tone(source / f"{i}.wav", 0.1)
    (source / "text.wav").write_bytes(b"no sound")
    message = refused(source, out)
    assert "2 pieces cannot be divided into train, val, test; at least 3 are needed" in message
    assert "; 1 cannot be read, the first of them is text.wav: corrupt" in message
    for path in source.iterdir():
        path.write_bytes(b"no sound")
    message = refused(source, out)
    assert "0 pieces cannot be divided" in message
    assert "; 3 cannot be read, the first of them is 0.wav: corrupt" in message


def test_settings_that_cannot_be_used_are_refused_before_any_work(source: Path, out: Path) -> None:
    assert "at least 3" in refused(write_tone(source / "0.wav", 0.1), out)
    for i in range(4):
        write_tone(source / f"{i}.wav", 0.1)
    assert "nobody" in refused(source, out, keep_together=("0,nobody",))
    for rate in (0, -1, 10**9):
        assert "rate" in refused(source, out, sample_rate=rate)
    assert "--workers" in refused(source, out, workers=-1)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_pieces_rendered_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_audio, "BUILTIN_PIECES", 4)
    monkeypatch.setattr(prepare_audio, "BUILTIN_SECONDS", 2.0)
    info = prepared("builtin", out)
    assert info.licence == "CC0 1.0"
    assert {split: facts["pieces"] for split, facts in info.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert len(np.unique(Dataset.open(out).tokens("train"))) > 100


def test_melodies_rendered_here_have_notes_that_can_be_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_audio, "MELODIES", 4)
    monkeypatch.setattr(prepare_audio, "MELODY_SECONDS", 6.0)
    info = prepared("builtin", out, builtin="melodies", sample_rate=8000)
    assert "melodies" in info.source
    ids = torch.from_numpy(Dataset.open(out).tokens("train")[:16_000].astype(np.int64))
    assert len({note.pitch for note in notes(MuLawTokenizer(8000).decode(ids).double().numpy(), 8000)}) >= 2
