import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.piano import performance
from waveletgpt.training import prepare_music
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo
from waveletgpt.training.prepare_music import Config, prepare
from waveletgpt.training.preparing.composing import compose


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The path of an output directory that does not exist yet, in an empty folder."""
    return tmp_path / "prepared" / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of five MIDI files."""
    folder = tmp_path / "source"
    folder.mkdir()
    for i in range(5):
        write_midi(folder / f"{i}.mid", compose(i, 4.0))
    return folder


def prepared(source: Path | str, out: Path, **settings: Any) -> DatasetInfo:
    return prepare(Config(source=str(source), out=out, **{"workers": 0, **settings}))


def refused(source: Path | str, out: Path) -> str:
    """The one-line error for a source that cannot be used."""
    with pytest.raises(InputError) as refusal:
        prepared(source, out)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert not out.exists()
    return message


def performances(out: Path, split: str) -> list[list[int]]:
    """The pieces of a split, without the PAD before each piece."""
    ids, pad = Dataset.open(out, modality="music").tokens(split).tolist(), int(MidiTokenizer().start)
    assert ids[0] == pad
    joined = " ".join(map(str, ids[1:])).split(f" {pad} ")
    return [[int(token) for token in piece.split()] for piece in joined]


def test_midi_files_become_events(source: Path, out: Path) -> None:
    info = prepared(source, out)
    assert info.vocab_size == MidiTokenizer().vocab_size
    for split in SPLITS:
        expected = [MidiTokenizer().encode(source / name).tolist() for name in info.files[split]]
        assert performances(out, split) == expected
        assert list(info.files[split].values()) == [len(ids) + 1 for ids in expected]
    assert sorted(name for split in SPLITS for name in info.files[split]) == [f"{i}.mid" for i in range(5)]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_as_maestro_has_it_decides_the_split(source: Path, out: Path, kind: str, encoding: str) -> None:
    """The csv has extra columns. Files that it does not name are left out, and other csv files are ignored."""
    rows = {"0.mid": "test", "1.mid": "train", "2.mid": "validation", "3.mid": "train"}
    table = "canonical_composer,midi_filename,split,year\n"
    table += "".join(f'"Bach, J. S.",2004/{name},{split},2004\n' for name, split in rows.items())
    (source / "maestro" / "2004").mkdir(parents=True)
    (source / "maestro" / "maestro.csv").write_text(table, encoding=encoding)
    (source / "maestro" / "another.csv").write_text("a,b\n1,2\n")
    for i in range(5):
        (source / f"{i}.mid").rename(source / "maestro" / "2004" / f"{i}.mid")
    place = source
    if kind == "zip":
        place = source / "maestro.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in (source / "maestro").rglob("*"):
                archive.write(path, path.relative_to(source))
    if kind == "tar.gz":
        place = source / "maestro.tar.gz"
        with tarfile.open(place, "w:gz") as tar:
            tar.add(source / "maestro", "maestro")
    info = prepared(place, out)
    for split, files in {"train": [1, 3], "val": [2], "test": [0]}.items():
        names = [f"maestro/2004/{i}.mid" for i in files]
        assert list(info.files[split]) == names
        assert performances(out, split) == [MidiTokenizer().encode(source / name).tolist() for name in names]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"midi_filename,split\n0.mid,training\n", "the split 'training'; known are train, validation, test"),
        (b"midi_filename,split\nnowhere.mid,train\n", "names nowhere.mid, which is not there"),
        (b"midi_filename,split\n0.mid\n", "the split ''"),
        (b"split,midi_filename\ntrain\n", "which is not there"),
        (b"midi_filename,split\n\xff\xfe.mid,train\n", "cannot be read as a csv"),
        (b"midi_filename,split\n" + b"x" * 200_000 + b",train\n", "cannot be read as a csv"),
        (b"midi_filename,split\n0.mid,train\n1.mid,test\n", "nothing is left for the split val"),
    ],
)
def test_a_damaged_csv_is_refused(source: Path, out: Path, table: bytes, message: str) -> None:
    (source / "table.csv").write_bytes(table)
    assert message in refused(source, out)


def test_performances_that_cannot_be_read_are_skipped_and_listed(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepared(source, out).splits
    whole = (source / "0.mid").read_bytes()
    (source / "cut.mid").write_bytes(whole[: len(whole) // 2])
    (source / "empty.mid").write_bytes(b"")
    (source / "huge.mid").write_bytes(b"MThd" + bytes(100_000))
    (source / "text.mid").write_bytes(b"no music")
    monkeypatch.setattr(performance, "MAX_BYTES", 50_000)
    info = prepared(source, out)
    assert info.splits == expected
    assert info.skipped == [
        {"file": "cut.mid", "why": "a damaged MIDI file (it ends in the middle of a track)"},
        {"file": "empty.mid", "why": "not a MIDI file (a MIDI file begins with MThd)"},
        {"file": "huge.mid", "why": "larger than 0 MB; give a single performance"},
        {"file": "text.mid", "why": "not a MIDI file (a MIDI file begins with MThd)"},
    ]


def test_a_split_of_the_csv_that_cannot_be_read_is_refused(source: Path, out: Path) -> None:
    (source / "table.csv").write_text("midi_filename,split\n0.mid,train\n1.mid,test\n2.mid,validation\n")
    (source / "2.mid").write_bytes(b"no music")
    message = refused(source, out)
    assert "nothing is left for the split val; 1 cannot be read, the first of them is 2.mid: not a MIDI" in message


def test_too_little_is_refused(source: Path, out: Path, tmp_path: Path) -> None:
    assert "at least 3" in refused(source / "0.mid", out)
    (tmp_path / "empty").mkdir()
    assert "no files ending in .mid" in refused(tmp_path / "empty", out)
    for i in range(3):
        (source / f"{i}.mid").write_bytes(b"no music")
    assert "2 pieces cannot be divided" in refused(source, out)


def test_pieces_composed_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_music, "BUILTIN_PIECES", 6)
    monkeypatch.setattr(prepare_music, "BUILTIN_SECONDS", 5.0)
    info = prepared("builtin", out)
    assert info.licence == "CC0 1.0"
    assert sum(facts["pieces"] for facts in info.splits.values()) == 6


def test_the_terms_of_maestro_are_said_and_kept(
    source: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They go into the card of every model that is trained on it. Other sources say nothing."""
    assert prepared(source, out).licence == "not stated"
    assert "MAESTRO" not in capsys.readouterr().err
    maestro = source.rename(tmp_path / "maestro-v3.0.0")
    info = prepared(maestro, out)
    assert (info.source, info.licence.partition(":")[0]) == ("maestro-v3.0.0", "CC BY-NC-SA 4.0")
    assert "non-commercial use only" in info.licence
    assert "CC BY-NC-SA 4.0: non-commercial" in capsys.readouterr().err
    assert prepared(maestro, out, licence="as agreed").licence == "as agreed"
