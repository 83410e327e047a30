import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo
from waveletgpt.training.prepare_text import Config, prepare
from waveletgpt.training.preparing import source as source_module
from waveletgpt.training.preparing import texts as texts_module

TEXT = "".join(f"Line {i}: the quick brown fox, été, 漢字, 🎹!\n" for i in range(200))


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
    return prepare(Config(source=str(source), out=out, **{"workers": 0, **settings}))


def decoded(out: Path) -> dict[str, str]:
    dataset = Dataset.open(out, modality="text")
    tokenizer = tokenizer_from_dict(dataset.info.tokenizer)
    return {split: tokenizer.decode(torch.from_numpy(dataset.tokens(split).astype(np.int64))) for split in SPLITS}


def refused(source: Path | str, out: Path, **settings: Any) -> str:
    """The one-line error for a source that cannot be used."""
    with pytest.raises(InputError) as refusal:
        prepared(source, out, **settings)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert not out.exists()
    return message


def test_no_character_is_lost_or_seen_twice(source: Path, out: Path) -> None:
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    info = prepared(source / "book.txt", out)
    splits = decoded(out)
    assert splits["train"] + splits["val"] + splits["test"] == TEXT
    lengths = [len(splits[split]) / len(TEXT) for split in SPLITS]
    assert lengths == pytest.approx([0.9, 0.05, 0.05], abs=1 / len(TEXT))
    assert info.files == {split: {"book.txt": len(splits[split])} for split in SPLITS}
    assert [path.name for path in out.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_text_of_many_parts_has_no_seam(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Random texts, shorter and longer than a part, put all kinds of characters on the seams."""
    dice = random.Random(0)
    texts = {f"{i:02}.txt": "".join(dice.choices("ab\n\ré漢🎹", k=dice.randrange(400))) for i in range(20)}
    for name, text in texts.items():
        (source / name).write_bytes(text.encode())
    monkeypatch.setattr(texts_module, "PART", 61)
    info = prepared(source, out, workers=workers)
    alike = {name: text.replace("\r\n", "\n").replace("\r", "\n") for name, text in texts.items()}
    assert "".join(decoded(out).values()) == "\n\n".join(alike.values())
    for split, text in decoded(out).items():
        assert sum(info.files[split].values()) == len(text)
    counts = {name: sum(info.files[split].get(name, 0) for split in SPLITS) for name in texts}
    assert counts == {name: len(text) + 2 * (name != "19.txt") for name, text in alike.items()}


def test_a_folder_is_read_in_order_of_names(source: Path, out: Path) -> None:
    for name, text in {"b.txt": "two", "a.txt": "one", "c/d.TXT": "three", "e.md": "no", ".f.txt": "no"}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    prepared(source, out)
    assert "".join(decoded(out).values()) == "one\n\ntwo\n\nthree"


def test_line_ends_and_byte_order_marks_are_made_alike(source: Path, out: Path) -> None:
    (source / "windows.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    prepared(source / "windows.txt", out)
    assert "".join(decoded(out).values()) == "one\ntwo\nthree\n"


def pack(folder: Path, name: str) -> Path:
    """Write TEXT into an archive of one file without a suffix, like `text8.zip`, and return its path."""
    data, path = TEXT.encode(), folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("text", data)
    elif "tar" in name:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            member = tarfile.TarInfo("text")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    else:
        path.write_bytes(gzip.compress(data))
    return path


@pytest.mark.parametrize("name", ["text.zip", "text.gz", "TEXT.TXT.GZ", "text.tar", "text.tar.gz"])
def test_archives_are_unpacked(source: Path, out: Path, name: str) -> None:
    info = prepared(pack(source, name), out, licence="CC0")
    assert "".join(decoded(out).values()) == TEXT
    assert (info.source, info.licence, info.origin) == (name, "CC0", str(source / name))


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_in_another_order_gives_what_the_folder_does(source: Path, out: Path, kind: str) -> None:
    texts = {f"{name}.txt": name * 200 for name in "cab"}
    for name, text in texts.items():
        (source / name).write_text(text)
    if kind == "zip":
        with zipfile.ZipFile(source / "texts.zip", "w") as archive:
            for name in texts:
                archive.write(source / name, name)
    else:
        with tarfile.open(source / "texts.tar.gz", "w:gz") as tar:
            for name in texts:
                tar.add(source / name, name)
    info = prepared(source / f"texts.{kind}", out)
    assert info.splits == prepared(source, out).splits
    assert [path.name for path in out.parent.iterdir()] == ["data"]


def test_a_packed_text_that_unpacks_to_too_much_is_named(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "ALWAYS", 10_000)
    (source / "a.txt.gz").write_bytes(gzip.compress(b"a" * 2_000_000))
    assert refused(source / "a.txt.gz", out).startswith(f"{source / 'a.txt.gz'} unpacks to more than")
    info = prepared(source / "a.txt.gz", out, trust_archive=True)
    assert sum(facts["tokens"] for facts in info.splits.values()) == 2_000_000


def test_text8_refuses_other_characters_by_their_position_in_the_file(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions count from the start of the file, also in its later parts and in the test split."""
    monkeypatch.setattr(texts_module, "PART", 300)
    for position in (0, 500, 995):
        letters = ["a"] * 1000
        letters[position] = letters[-1] = "Q"
        (source / "text").write_text("".join(letters))
        message = refused(source / "text", out, alphabet="text8")
        assert f"text: character 'Q' at position {position} " in message
        assert "--replacement" in message


def test_text8_has_no_empty_line_between_files(source: Path, out: Path) -> None:
    for name in "ab":
        (source / f"{name}.txt").write_text(name * 100)
    assert "the empty line between two texts" in refused(source, out, alphabet="text8")
    prepared(source, out, alphabet="text8", replacement=" ")
    assert "".join(decoded(out).values()) == "a" * 100 + "  " + "b" * 100


def saved_checkpoint(directory: Path, tokenizer: Tokenizer, modality: str = "text") -> Path:
    """An untrained checkpoint with this tokenizer."""
    model = GPT(GPTConfig(tokenizer.vocab_size, block_size=8, n_layer=1, n_head=1, n_embd=8, n_hidden=8, n_levels=3))
    save_checkpoint(directory, model, CheckpointInfo(modality, model.config, tokenizer.to_dict()))
    return directory


def test_the_alphabet_of_a_checkpoint_is_taken_over(source: Path, out: Path, tmp_path: Path) -> None:
    letters = CharacterTokenizer(" Habcdefghijklmnopqrstuvwxyz")
    checkpoint = saved_checkpoint(tmp_path / "letters", letters)
    (source / "text").write_text("Hello world " * 20)
    info = prepared(source / "text", out, tokenizer=checkpoint)
    assert info.tokenizer == letters.to_dict() and info.vocab_size == 28
    assert "".join(decoded(out).values()) == "Hello world " * 20
    (source / "text").write_text("Hello, world! " * 20)
    message = refused(source / "text", tmp_path / "other", tokenizer=checkpoint)
    assert "character ',' at position 5" in message and "--replacement" in message
    prepared(source / "text", out, tokenizer=checkpoint, replacement="x")
    assert "".join(decoded(out).values()) == "Hellox worldx " * 20
    replacing = saved_checkpoint(tmp_path / "replacing", CharacterTokenizer(letters.alphabet, " "))
    prepared(source / "text", out, tokenizer=replacing)
    assert "".join(decoded(out).values()) == "Hello  world  " * 20


def test_an_alphabet_that_cannot_be_taken_over_is_refused(source: Path, out: Path, tmp_path: Path) -> None:
    (source / "text").write_text("漢" * 100)
    audio = saved_checkpoint(tmp_path / "audio", MuLawTokenizer(), "audio")
    assert "is a checkpoint for audio; --tokenizer takes one for text" in refused(source, out, tokenizer=audio)
    assert "has no config.json" in refused(source, out, tokenizer=tmp_path / "nowhere")
    with pytest.raises(InputError, match="both give an alphabet"):
        prepared(source, out, tokenizer=audio, alphabet="text8")
    many = saved_checkpoint(tmp_path / "many", CharacterTokenizer("".join(map(chr, range(0x3400, 0x3E00)))))
    assert "(2560 characters); --replacement" in refused(source / "text", out, tokenizer=many)
    assert "must be one character of the alphabet" in refused(source, out, tokenizer=many, replacement="?")


def test_text8_replaces_other_characters_when_asked_to(source: Path, out: Path) -> None:
    (source / "text").write_text("Hello, world! " * 20)
    prepared(source / "text", out, alphabet="text8", replacement=" ")
    assert "".join(decoded(out).values()) == " ello  world  " * 20
    assert Dataset.open(out).info.tokenizer == CharacterTokenizer.text8(" ").to_dict()


def test_files_that_are_no_text_are_skipped_and_listed(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is skipped even if only a later part is wrong. Skipped files do not change the data of the others."""
    monkeypatch.setattr(texts_module, "PART", 100)
    for name in ("a", "c", "e"):
        (source / f"{name}.txt").write_text(name * 500)
    info = prepared(source, out)
    expected = "".join(decoded(out).values())
    (source / "b.txt").write_bytes(b"q" * 350 + "caf\xe9".encode("latin-1") + b"q" * 350)
    (source / "d.txt").write_bytes(b"")
    (source / "f.txt").write_bytes(b"\xff\xfeq\0")
    again = prepared(source, out)
    assert "".join(decoded(out).values()) == expected
    assert again.splits == info.splits
    assert again.tokenizer == info.tokenizer
    assert Dataset.open(out).info.skipped == [
        {"file": "b.txt", "why": "not UTF-8 text: byte 353 cannot be read"},
        {"file": "d.txt", "why": "holds no text"},
        {"file": "f.txt", "why": "not UTF-8 text: byte 0 cannot be read"},
    ]


def test_texts_that_cannot_be_used_are_refused(source: Path, out: Path) -> None:
    (source / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    (source / "empty.txt").write_bytes(b"")
    (source / "short.txt").write_bytes(b"abc")
    (source / "good.txt").write_text("good" * 10)
    whole = pack(source, "whole.gz").read_bytes()
    (source / "cut.gz").write_bytes(whole[: len(whole) // 2])
    for name, message in {
        "nowhere.txt": "does not exist",
        "empty.txt": "empty.txt holds no text",
        "short.txt": "nothing is left for the split val",
        "latin1.txt": "latin1.txt: not UTF-8 text: byte 3 cannot be read",
        "cut.gz": "cut: is damaged and cannot be unpacked",
    }.items():
        assert message in refused(source / name, out), name
    assert "replacement '?'" in refused(source / "good.txt", out, replacement="?")


def test_a_text_that_changes_between_its_readings_is_refused(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    learned = CharacterTokenizer.from_text

    def meanwhile(*arguments: Any) -> CharacterTokenizer:
        with (source / "book.txt").open("a") as file:
            file.write("Line")
        return learned(*arguments)

    monkeypatch.setattr(CharacterTokenizer, "from_text", meanwhile)
    assert "changed while they were read" in refused(source / "book.txt", out)


def test_the_source_is_never_overwritten(source: Path) -> None:
    (source / "book.txt").write_text(TEXT, encoding="utf-8")
    for target in (source, source / "book.txt"):
        with pytest.raises(InputError, match="book"):
            prepared(source / "book.txt", target)
    assert (source / "book.txt").read_text(encoding="utf-8") == TEXT
    assert [path.name for path in source.parent.iterdir()] == ["source"]


def test_python_s_manual(out: Path) -> None:
    info = prepared("builtin", out)
    text = "".join(decoded(out).values())
    assert len(text) > 300_000
    assert "The Python interpreter" in text
    assert (info.licence, info.origin) == ("PSF License Agreement", "builtin")
