import gzip
import io
import math
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import prepare_audio, prepare_music, prepare_text
from waveletgpt.training.data import SPLITS, Dataset
from waveletgpt.training.pieces import compose

torch.set_num_threads(1)

TEXT = "".join(f"Line {i}: the quick brown fox, été, 漢字, 🎹!\n" for i in range(200))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A directory that is not there yet, in a folder of its own."""
    return tmp_path / "prepared" / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def served(source: Path) -> Iterator[str]:
    """The URL at which the folder `source` is served."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith("/broken"):
                super().do_GET()
                return
            self.send_response(200)
            if "chunked" in self.path:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"3e8\r\nonly this")

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(source)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def decoded(out: Path) -> dict[str, str]:
    dataset = Dataset.open(out, modality="text")
    tokenizer = tokenizer_from_dict(dataset.info.tokenizer)
    return {split: tokenizer.decode(torch.from_numpy(dataset.tokens(split).astype(np.int64))) for split in SPLITS}


def text_config(source: Path | str, out: Path, **settings: Any) -> prepare_text.Config:
    return prepare_text.Config(source=str(source), out=out, **settings)


def refused(prepare: Callable[[Any], Any], config: Any) -> str:
    """The one line that `prepare` refuses `config` with, having left nothing behind."""
    with pytest.raises(InputError) as refusal:
        prepare(config)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert not config.out.exists()
    assert not config.out.parent.exists() or not list(config.out.parent.iterdir())
    return message


# Text.


def test_no_character_is_lost_or_seen_twice(source: Path, out: Path) -> None:
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    prepare_text.prepare(text_config(source / "book.txt", out))
    splits = decoded(out)
    assert splits["train"] + splits["val"] + splits["test"] == TEXT
    lengths = [len(splits[split]) / len(TEXT) for split in SPLITS]
    assert lengths == pytest.approx([0.9, 0.05, 0.05], abs=1 / len(TEXT))


def test_long_texts_are_encoded_in_chunks_without_a_seam(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_text, "CHUNK", 17)
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    prepare_text.prepare(text_config(source / "book.txt", out))
    assert "".join(decoded(out).values()) == TEXT


def test_a_folder_is_read_in_order_of_names(source: Path, out: Path) -> None:
    for name, text in {
        "b.txt": "two",
        "a.txt": "one",
        "c/d.TXT": "three",
        "e.md": "no",
        ".f.txt": "no",
    }.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    prepare_text.prepare(text_config(source, out))
    assert "".join(decoded(out).values()) == "one\n\ntwo\n\nthree"


def test_line_ends_and_byte_order_marks_are_made_alike(source: Path, out: Path) -> None:
    (source / "windows.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    prepare_text.prepare(text_config(source / "windows.txt", out))
    assert "".join(decoded(out).values()) == "one\ntwo\nthree\n"


def pack(folder: Path, name: str) -> Path:
    """TEXT in an archive, as `text8.zip` has it: one file without a suffix."""
    data, path = TEXT.encode(), folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("text", data)
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            member = tarfile.TarInfo("text")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    else:
        path.write_bytes(gzip.compress(data))
    return path


@pytest.mark.parametrize("name", ["text.zip", "text.gz", "TEXT.TXT.GZ", "text.tar", "text.tar.gz", "text.tgz"])
def test_archives_are_unpacked(source: Path, out: Path, name: str) -> None:
    prepare_text.prepare(text_config(pack(source, name), out))
    assert "".join(decoded(out).values()) == TEXT


def test_archives_made_on_a_mac(source: Path, out: Path) -> None:
    with zipfile.ZipFile(source / "books.zip", "w") as archive:
        archive.writestr("books/a.txt", TEXT)
        archive.writestr("__MACOSX/books/._a.txt", b"\x00\x05\x16\x07\xff")
    prepare_text.prepare(text_config(source / "books.zip", out))
    assert "".join(decoded(out).values()) == TEXT


def test_a_url_is_downloaded(source: Path, out: Path, served: str) -> None:
    pack(source, "text.zip")
    prepare_text.prepare(text_config(f"{served}/text.zip", out, licence="CC0"))
    assert "".join(decoded(out).values()) == TEXT
    info = Dataset.open(out).info
    assert (info.source, info.licence) == ("text.zip", "CC0")


def test_broken_downloads_are_refused(out: Path, served: str) -> None:
    for url, message in {
        f"{served}/nowhere.zip": "404",
        f"{served}/broken.zip": "broke off",
        f"{served}/broken-chunked": "cannot be downloaded",
        "http://127.0.0.1:1/text.zip": "cannot be downloaded",
        "http://exa mple/text.zip": "cannot be downloaded",
        "http://[/text.zip": "cannot be downloaded",
        "http:///": "cannot be downloaded",
    }.items():
        assert message in refused(prepare_text.prepare, text_config(url, out))


def test_text8_refuses_other_characters_by_their_position_in_the_file(source: Path, out: Path) -> None:
    """In the test split too, whose positions do not begin at 0."""
    for position in (0, 500, 995):
        letters = ["a"] * 1000
        letters[position] = letters[-1] = "Q"
        (source / "text").write_text("".join(letters))
        message = refused(prepare_text.prepare, text_config(source / "text", out, alphabet="text8"))
        assert f"character 'Q' at position {position} " in message
        assert "--replacement" in message


def test_text8_replaces_other_characters_when_asked_to(source: Path, out: Path) -> None:
    (source / "text").write_text("Hello, world! " * 20)
    prepare_text.prepare(text_config(source / "text", out, alphabet="text8", replacement=" "))
    assert "".join(decoded(out).values()) == " ello  world  " * 20
    assert Dataset.open(out).info.tokenizer == CharacterTokenizer.text8(" ").to_dict()


def test_texts_that_cannot_be_used_are_refused(source: Path, out: Path) -> None:
    (source / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    (source / "empty.txt").write_bytes(b"")
    (source / "good.txt").write_text("good")
    (source / "nothing").mkdir()
    archive = pack(source, "whole.gz").read_bytes()
    packed = pack(source, "whole.zip").read_bytes()
    (source / "cut.gz").write_bytes(archive[: len(archive) // 2])
    (source / "flipped.gz").write_bytes(archive[:30] + bytes(byte ^ 255 for byte in archive[30:90]) + archive[90:])
    (source / "no.gz").write_bytes(b"not an archive")
    (source / "cut.zip").write_bytes(packed[: len(packed) // 2])
    (source / "flipped.zip").write_bytes(packed[:50] + bytes(byte ^ 255 for byte in packed[50:90]) + packed[90:])
    (source / "locked.zip").write_bytes(
        packed.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    )
    (source / "cut.tar.gz").write_bytes(archive[:20])
    for name, message in {
        "nowhere.txt": "does not exist",
        "nothing": "no files ending in .txt",
        "empty.txt": "no text",
        "latin1.txt": "not UTF-8 text: byte 3",
        "cut.gz": "damaged",
        "flipped.gz": "damaged",
        "no.gz": "damaged",
        "cut.zip": "damaged",
        "flipped.zip": "damaged",
        "locked.zip": "damaged",
        "cut.tar.gz": "damaged",
    }.items():
        assert message in refused(prepare_text.prepare, text_config(source / name, out)), name
    config = text_config(source / "good.txt", out, replacement="?")
    assert "replacement '?'" in refused(prepare_text.prepare, config)


def test_the_source_is_never_overwritten(source: Path) -> None:
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    for target in (source, source / "book.txt"):
        with pytest.raises(InputError, match="book"):
            prepare_text.prepare(text_config(source / "book.txt", target))
    assert (source / "book.txt").read_text(encoding="utf-8") == TEXT


def test_python_s_manual(out: Path) -> None:
    info = prepare_text.prepare(text_config("builtin", out))
    text = "".join(decoded(out).values())
    assert len(text) > 300_000
    assert "The Python interpreter" in text
    assert info.licence == "PSF License Agreement"


# Audio.


def write_tone(path: Path, seconds: float, rate: int = 8000, channels: int = 1) -> Path:
    times = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * math.pi * 440 * times)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
    return path


def audio_config(source: Path | str, out: Path, **settings: Any) -> prepare_audio.Config:
    return prepare_audio.Config(source=str(source), out=out, sample_rate=8000, **settings)


def test_recordings_become_samples(source: Path, out: Path) -> None:
    """Mono and stereo, in other formats and at other rates."""
    for i in range(10):
        write_tone(source / f"mono {i}.wav", 0.5)
    write_tone(source / "stereo.flac", 0.5, channels=2)
    write_tone(source / "fast.ogg", 0.5, rate=44100)
    info = prepare_audio.prepare(audio_config(source, out, name="tones", licence="CC0"))
    dataset = Dataset.open(out, modality="audio")
    assert (info.vocab_size, info.source, info.licence) == (256, "tones", "CC0")
    assert sum(facts["pieces"] for facts in info.splits.values()) == 12
    assert sum(facts["tokens"] for facts in info.splits.values()) == pytest.approx(12 * 4000, abs=40)
    tokenizer = tokenizer_from_dict(info.tokenizer)
    assert tokenizer == MuLawTokenizer(8000)
    for split in SPLITS:
        tokens = dataset.tokens(split)
        assert tokens.dtype == np.uint8
        waveform = tokenizer.decode(torch.from_numpy(tokens[:4000].astype(np.int64)))
        spectrum = torch.fft.rfft(waveform).abs()
        assert spectrum.argmax() == 220  # 440 Hz in half a second
        assert waveform.square().mean().sqrt() == pytest.approx(0.1, rel=0.05)  # -20 dBFS


def test_excerpts_of_one_recording_stay_on_one_side(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    split_by_size = prepare_audio.split_by_size

    def noted(*arguments: Any) -> dict[str, str]:
        seen.update(split_by_size(*arguments))
        return seen

    monkeypatch.setattr(prepare_audio, "split_by_size", noted)
    names = [f"part {i}" for i in range(12)]
    for name in names:
        write_tone(source / f"{name}.wav", 0.05)
    together = (",".join(names[:4]), ",".join(names[3:6]))
    prepare_audio.prepare(audio_config(source, out, keep_together=together))
    assert len({seen[name] for name in names[:6]}) == 1
    assert set(seen.values()) == set(SPLITS)


def test_recordings_that_cannot_be_used_are_refused(source: Path, out: Path) -> None:
    for i in range(4):
        write_tone(source / f"{i}.wav", 0.1)
    config = audio_config(source, out, keep_together=("0,nobody",))
    assert "nobody" in refused(prepare_audio.prepare, config)
    assert "at least 3" in refused(prepare_audio.prepare, audio_config(source / "0.wav", out))
    write_tone(source / "0.flac", 0.1)
    assert "differ in their folder or suffix alone" in refused(prepare_audio.prepare, audio_config(source, out))
    (source / "0.flac").unlink()
    for name, content in {
        "text.wav": b"no sound",
        "empty.wav": b"",
        "cut.wav": (source / "0.wav").read_bytes()[:20],
    }.items():
        (source / name).write_bytes(content)
        assert name in refused(prepare_audio.prepare, audio_config(source, out))
        (source / name).unlink()
    soundfile.write(source / "silent.wav", np.zeros(0), 8000)
    assert "silent.wav" in refused(prepare_audio.prepare, audio_config(source, out))
    (source / "silent.wav").unlink()
    for rate in (0, -1, 10**9):
        rated = prepare_audio.Config(source=str(source), out=out, sample_rate=rate)
        assert "rate" in refused(prepare_audio.prepare, rated)


def test_pieces_rendered_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_audio, "BUILTIN_PIECES", 4)
    monkeypatch.setattr(prepare_audio, "BUILTIN_SECONDS", 2.0)
    info = prepare_audio.prepare(audio_config("builtin", out))
    assert info.licence == "CC0 1.0"
    assert {split: facts["pieces"] for split, facts in info.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert len(np.unique(Dataset.open(out).tokens("train"))) > 100


# Music.


@pytest.fixture
def midi_folder(source: Path) -> Path:
    for i in range(5):
        write_midi(source / f"{i}.mid", compose(i, 4.0))
    return source


def music_config(source: Path | str, out: Path) -> prepare_music.Config:
    return prepare_music.Config(source=str(source), out=out)


def performances(out: Path, split: str) -> list[list[int]]:
    """The pieces of a split, without the PAD that stands before each."""
    ids, pad = Dataset.open(out, modality="music").tokens(split).tolist(), int(MidiTokenizer().start)
    assert ids[0] == pad
    joined = " ".join(map(str, ids[1:])).split(f" {pad} ")
    return [[int(token) for token in piece.split()] for piece in joined]


def test_midi_files_become_events(midi_folder: Path, out: Path) -> None:
    info = prepare_music.prepare(music_config(midi_folder, out))
    assert info.vocab_size == MidiTokenizer().vocab_size
    expected = [MidiTokenizer().encode(midi_folder / f"{i}.mid").tolist() for i in range(5)]
    found = [piece for split in SPLITS for piece in performances(out, split)]
    assert sorted(found) == sorted(expected)


def test_a_csv_as_maestro_has_it_decides_the_split(midi_folder: Path, out: Path) -> None:
    """In an archive, with columns besides; a file that the csv does not name is left out."""
    rows = {"0.mid": "test", "1.mid": "train", "2.mid": "validation", "3.mid": "train"}
    table = "canonical_composer,midi_filename,split,year\n"
    table += "".join(f'"Bach, J. S.",2004/{name},{split},2004\n' for name, split in rows.items())
    for encoding in ("utf-8", "utf-8-sig"):
        with zipfile.ZipFile(midi_folder / "maestro.zip", "w") as archive:
            archive.writestr("maestro/maestro.csv", table.encode(encoding))
            archive.writestr("maestro/another.csv", "a,b\n1,2\n")
            for name in [*rows, "4.mid"]:
                archive.write(midi_folder / name, f"maestro/2004/{name}")
        prepare_music.prepare(music_config(midi_folder / "maestro.zip", out))
        for split, files in {"train": [1, 3], "val": [2], "test": [0]}.items():
            expected = [MidiTokenizer().encode(midi_folder / f"{i}.mid").tolist() for i in files]
            assert performances(out, split) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"midi_filename,split\n0.mid,training\n", "the split 'training'; known are train, validation, test"),
        (b"midi_filename,split\nnowhere.mid,train\n", "names nowhere.mid, which is not there"),
        (b"midi_filename,split\n0.mid\n", "the split ''"),
        (b"split,midi_filename\ntrain\n", "which is not there"),
        (b"midi_filename,split\n\xff\xfe.mid,train\n", "cannot be read as a csv"),
        (b"midi_filename,split\n" + b"x" * 200_000 + b",train\n", "cannot be read as a csv"),
    ],
)
def test_a_damaged_csv_is_refused(midi_folder: Path, out: Path, table: bytes, message: str) -> None:
    (midi_folder / "table.csv").write_bytes(table)
    assert message in refused(prepare_music.prepare, music_config(midi_folder, out))


def test_midi_files_that_cannot_be_used_are_refused(midi_folder: Path, out: Path, tmp_path: Path) -> None:
    assert "at least 3" in refused(prepare_music.prepare, music_config(midi_folder / "0.mid", out))
    (tmp_path / "empty").mkdir()
    assert "no files ending in .mid" in refused(prepare_music.prepare, music_config(tmp_path / "empty", out))
    whole = (midi_folder / "0.mid").read_bytes()
    for name, content in {
        "text.mid": b"no music",
        "empty.mid": b"",
        "cut.mid": whole[: len(whole) // 2],
    }.items():
        (midi_folder / name).write_bytes(content)
        assert name in refused(prepare_music.prepare, music_config(midi_folder, out))
        (midi_folder / name).unlink()


def test_pieces_composed_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_music, "BUILTIN_PIECES", 6)
    monkeypatch.setattr(prepare_music, "BUILTIN_SECONDS", 5.0)
    info = prepare_music.prepare(music_config("builtin", out))
    assert info.licence == "CC0 1.0"
    assert sum(facts["pieces"] for facts in info.splits.values()) == 6


# The command lines.


@pytest.mark.parametrize("module", [prepare_text, prepare_audio, prepare_music])
def test_the_commands_tell_what_is_wrong_in_one_line(
    module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ["--source", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/out"]
    for arguments, message in (
        (good, "does not exist"),
        (good[:2], "--out"),
        ([*good, "--colour", "red"], "--colour"),
        ([*good, "--name"], "--name"),
    ):
        monkeypatch.setattr(sys, "argv", ["prepare.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(module.main)
        assert stop.value.code == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert len(shown.err.splitlines()) == 1
        assert message in shown.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_made(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "book.txt").write_text("ab" * 500)
    monkeypatch.setattr(sys, "argv", ["prepare_text.py", "--source", f"{source / 'book.txt'}", "--out", f"{out}"])
    prepare_text.main()
    assert "2 characters in the alphabet; 900 train, 50 val, 50 test" in capsys.readouterr().out
