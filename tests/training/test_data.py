import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.training.data import (
    SPLITS,
    Dataset,
    DatasetInfo,
    check_long_enough,
    check_replaceable,
    spread_offsets,
    training_offsets,
    windows_at,
    write_dataset,
)

torch.set_num_threads(1)


def info(vocab_size: int = 5) -> DatasetInfo:
    return DatasetInfo(
        modality="text",
        tokenizer={"kind": "characters", "alphabet": "abcde", "replacement": None},
        vocab_size=vocab_size,
        report="bits per character",
        source="made up",
        licence="none",
    )


def pieces(*ids: int) -> dict[str, Any]:
    """Pieces by split: one piece of `ids` for training, two short pieces in each other split."""
    short = [torch.tensor([0, 1]), torch.tensor([2])]
    return {"train": [torch.tensor(ids)], "val": short, "test": iter(short)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", info(), pieces(0, 1, 2, 3, 4))
    return tmp_path / "data"


def refused(action: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as refusal:
        action()
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    ("vocab_size", "dtype", "ids"),
    [(256, "u1", (0, 255)), (257, "<u2", (0, 256)), (65536, "<u2", (0, 65535))],
)
def test_ids_are_stored_in_the_fewest_bytes_and_memory_mapped(
    tmp_path: Path, vocab_size: int, dtype: str, ids: tuple[int, ...]
) -> None:
    write_dataset(tmp_path, info(vocab_size), pieces(*ids))
    tokens = Dataset.open(tmp_path).tokens("train")
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.dtype(dtype)
    assert tokens.tolist() == list(ids)
    assert (tmp_path / "train.bin").stat().st_size == len(ids) * np.dtype(dtype).itemsize
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_the_description_counts_what_was_written(tmp_path: Path) -> None:
    written: list[int] = []
    result = write_dataset(tmp_path / "data", info(), pieces(0, 1, 2, 3, 4), written.append)
    dataset = Dataset.open(tmp_path / "data", modality="text")
    assert dataset.info == result
    assert {split: dataset.info.splits[split]["tokens"] for split in SPLITS} == {
        "train": 5,
        "val": 3,
        "test": 3,
    }
    assert {split: dataset.info.splits[split]["pieces"] for split in SPLITS} == {
        "train": 1,
        "val": 2,
        "test": 2,
    }
    assert dataset.tokens("val").tolist() == [0, 1, 2]
    assert written == [5, 2, 1, 2, 1]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == sorted(
        ["dataset.json", *(f"{split}.bin" for split in SPLITS)]
    )


def test_an_error_on_the_way_leaves_nothing_or_what_was_there(written: Path) -> None:
    def failing() -> Any:
        yield torch.tensor([4, 4])
        raise InputError("a broken file")

    before = {path.name: path.read_bytes() for path in written.iterdir()}
    for directory in (written, written.parent / "new"):
        with pytest.raises(InputError, match="a broken file"):
            write_dataset(directory, info(), {**pieces(1), "val": failing()})
    assert [path.name for path in written.parent.iterdir()] == ["data"]
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before


def test_files_of_a_split_are_its_pieces(tmp_path: Path) -> None:
    files = {"train": {"a": 2, "b": 3}, "val": {"c": 3}, "test": {"d": 3}}
    described = replace(info(), origin="a folder", skipped=[{"file": "e", "why": "broken"}], files=files)
    write_dataset(tmp_path, described, pieces(0, 1, 2, 3, 4))
    read = Dataset.open(tmp_path).info
    assert {split: read.splits[split]["pieces"] for split in SPLITS} == {"train": 2, "val": 1, "test": 1}
    assert (read.files, read.skipped, read.origin) == (files, described.skipped, "a folder")


def test_a_description_without_origin_and_files_is_read(written: Path) -> None:
    """Earlier versions wrote descriptions without these fields."""
    content = json.loads((written / "dataset.json").read_text())
    for name in ("origin", "skipped", "files"):
        del content[name]
    (written / "dataset.json").write_text(json.dumps(content))
    opened = Dataset.open(written)
    assert opened.tokens("train").tolist() == [0, 1, 2, 3, 4]
    assert (opened.info.origin, opened.info.skipped, opened.info.files) == ("", [], {})


def test_what_cannot_be_replaced_is_refused_early(written: Path) -> None:
    check_replaceable(written)
    check_replaceable(written.parent / "new")
    (written / "holiday.jpg").write_text("dear to me")
    assert "holiday.jpg, which would be lost" in refused(lambda: check_replaceable(written))
    assert "is a file" in refused(lambda: check_replaceable(written / "holiday.jpg"))


def test_prepared_data_are_replaced_and_nothing_else_is(written: Path, tmp_path: Path) -> None:
    write_dataset(written, info(), pieces(3))
    assert Dataset.open(written).tokens("train").tolist() == [3]
    home = tmp_path / "home"
    home.mkdir()
    write_dataset(home, info(), pieces(3))  # the directory is empty, so no data is lost
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("dear to me")
    assert "holiday.jpg, which would be lost" in refused(lambda: write_dataset(tmp_path / "photos", info(), pieces(3)))
    assert "holiday.jpg is a file" in refused(
        lambda: write_dataset(tmp_path / "photos" / "holiday.jpg", info(), pieces(3))
    )
    assert (tmp_path / "photos" / "holiday.jpg").read_text() == "dear to me"


def test_a_vocabulary_that_does_not_fit_in_16_bits_is_refused() -> None:
    assert "65537" in refused(lambda: info(65537))


def test_missing_data_are_refused(tmp_path: Path, written: Path) -> None:
    assert "prepare_*.py" in refused(lambda: Dataset.open(tmp_path / "nowhere"))
    assert "prepare_*.py" in refused(lambda: Dataset.open(tmp_path))
    (written / "val.bin").unlink()
    assert "val.bin" in refused(lambda: Dataset.open(written).tokens("val"))
    assert "dream split" in refused(lambda: Dataset.open(written).tokens("dream"))


def test_data_of_another_modality_are_refused(written: Path) -> None:
    assert "holds text; data for audio is needed" in refused(lambda: Dataset.open(written, modality="audio"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[1]", b"null", b"{}", b"\xff" * 5000])
def test_a_damaged_description_is_refused(written: Path, content: bytes) -> None:
    (written / "dataset.json").write_bytes(content)
    assert "dataset.json" in refused(lambda: Dataset.open(written))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "dataset.json cannot be read as a description of data: its format version is 2; this"),
        ({"format_version": 2, "colour": "red"}, "format version is 2; this program reads version 1"),
        ({"colour": "red"}, "dataset.json cannot be read as a description of data: it has the unknown key 'colour'"),
        ({"vocab_size": "many"}, "vocabulary"),
        ({"vocab_size": 0}, "vocabulary"),
        ({"splits": []}, "dataset.json"),
        ({"splits": {"train": 5}}, "dataset.json"),
        ({"files": 5}, "dataset.json"),
        ({"files": {"train": ["a"]}}, "files"),
        ({"skipped": "a"}, "skipped"),
        ({"splits": {"train": {"tokens": "5", "sha256": ""}}}, "dataset.json"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(written: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads((written / "dataset.json").read_text())
    (written / "dataset.json").write_text(json.dumps(content | change))
    assert message in refused(lambda: Dataset.open(written))


def test_damaged_tokens_are_refused(written: Path) -> None:
    """The damaged file has another length, or its length and one flipped bit."""
    path = written / "train.bin"
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", b"", bytes([content[0] ^ 128]) + content[1:]):
        path.write_bytes(damaged)
        assert "train.bin" in refused(lambda: Dataset.open(written).tokens("train"))


def test_tokens_are_hashed_only_if_they_may_have_changed(
    written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hashed: list[str] = []
    digest = hashlib.file_digest

    def file_digest(file: Any, name: str) -> Any:
        hashed.append(Path(file.name).parent.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    os.utime(written / "train.bin", ns=(0, (written / "dataset.json").stat().st_mtime_ns - 1))
    shutil.copytree(written, tmp_path / "copy with times")
    for directory in (written, tmp_path / "copy with times"):
        assert Dataset.open(directory).tokens("train").tolist() == [0, 1, 2, 3, 4]
    assert hashed == []
    shutil.copytree(written, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "train.bin")
    assert Dataset.open(tmp_path / "copy").tokens("train").tolist() == [0, 1, 2, 3, 4]
    assert hashed == ["copy"]


def test_an_empty_split_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    write_dataset(tmp_path, info(), {"train": [torch.tensor([1])], "val": [], "test": []})
    assert "no tokens in its val split" in refused(lambda: Dataset.open(tmp_path).tokens("val"))


def test_windows_are_inputs_and_the_tokens_that_follow() -> None:
    tokens = np.arange(20, dtype=np.uint8)
    inputs, targets = windows_at(tokens, [0, 7, 16], 3)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.tolist() == [[0, 1, 2], [7, 8, 9], [16, 17, 18]]
    assert targets.tolist() == [[1, 2, 3], [8, 9, 10], [17, 18, 19]]


def test_too_few_tokens_for_one_window_are_refused() -> None:
    check_long_enough(np.zeros(9, np.uint8), 8, "here")
    assert "here has 8 tokens" in refused(lambda: check_long_enough(np.zeros(8, np.uint8), 8, "here"))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 300), st.integers(1, 50), st.integers(0, 10**12), st.integers(0, 10**6))
def test_a_batch_is_a_function_of_seed_and_step(n_tokens: int, block_size: int, seed: int, step: int) -> None:
    block_size = min(block_size, n_tokens - 1)
    offsets = training_offsets(n_tokens, block_size, 64, seed=seed, step=step)
    assert offsets == training_offsets(n_tokens, block_size, 64, seed=seed, step=step)
    assert len(offsets) == 64
    assert all(0 <= offset <= n_tokens - block_size - 1 for offset in offsets)


def test_batches_differ_by_seed_and_step_and_reach_every_token() -> None:
    drawn = {tuple(training_offsets(1000, 10, 8, seed=seed, step=step)) for seed in range(9) for step in range(9)}
    assert len(drawn) == 81
    assert set(training_offsets(20, 10, 1000, seed=0, step=0)) == set(range(10))


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 10**6), st.integers(1, 600), st.integers(1, 500))
def test_validation_windows_lie_evenly_and_do_not_overlap(n_tokens: int, block_size: int, count: int) -> None:
    block_size = min(block_size, n_tokens - 1)
    offsets = spread_offsets(n_tokens, block_size, count)
    assert 1 <= len(offsets) <= count
    assert len(offsets) == min(count, (n_tokens - 1) // block_size)
    assert offsets[0] == 0
    assert offsets[-1] + block_size + 1 <= n_tokens
    gaps = np.diff(offsets)
    if len(gaps):
        assert gaps.min() >= block_size
        assert gaps.max() - gaps.min() <= 1
        assert offsets[-1] == n_tokens - 1 - block_size
