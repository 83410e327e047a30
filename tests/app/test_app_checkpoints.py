import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from waveletgpt.app.checkpoints import SHIPPED, find_checkpoints, load
from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer


def test_lists_checkpoints_and_runs_by_name(tiny_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "run" / "best")
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / ".partial-1")
    shutil.copytree(tiny_checkpoints / "text-baseline", tmp_path / "plain")
    (tmp_path / "README.md").write_text("not a checkpoint")
    found = find_checkpoints(tmp_path)
    assert [(one.name, one.is_baseline) for one in found] == [("plain", True), ("run/best", False)]
    assert found[0].info.losses["val"] == 3.0
    assert [one.name for one in find_checkpoints(tmp_path / "run" / "best")] == ["best"]


def test_finds_the_runs_of_a_comparison_and_of_several(tiny_checkpoints: Path, tmp_path: Path) -> None:
    names = [f"runs/{variant}/lr-0.001-seed-0/best" for variant in ("haar", "none")]
    for name in names:
        shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "runs" / "compare" / name)
    assert [one.name for one in find_checkpoints(tmp_path / "runs" / "compare")] == names
    assert [one.name for one in find_checkpoints(tmp_path / "runs")] == [f"compare/{name}" for name in names]


def test_a_damaged_checkpoint_is_left_out_with_a_warning(
    tiny_checkpoints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"format_version": 1')
    with caplog.at_level(logging.WARNING):
        assert [one.name for one in find_checkpoints(tmp_path)] == ["good"]
    assert "bad" in caplog.text and "\n" not in caplog.messages[0]


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory"):
        find_checkpoints(tmp_path / "nowhere")


def test_loads_once_until_the_files_change(
    tiny_checkpoints: Path, tmp_path: Path, save_tiny: Callable[..., Path]
) -> None:
    path = tmp_path / "text"
    shutil.copytree(tiny_checkpoints / "text-haar", path)
    first = load(path, "text", "characters")
    assert load(path, "text", "characters") is first
    save_tiny(path, "text", CharacterTokenizer("abc"), "haar")
    assert load(path, "text", "characters").tokenizer.vocab_size == 3


def test_refuses_what_does_not_fit(tiny_checkpoints: Path, tmp_path: Path, save_tiny: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="is a checkpoint for text; one for music"):
        load(tiny_checkpoints / "text-haar", "music", "midi")
    with pytest.raises(InputError, match="has no config"):
        load(tmp_path, "text", "characters")
    mismatch = save_tiny(tmp_path / "a", "text", CharacterTokenizer("abc"), "none", vocab_size=99)
    with pytest.raises(InputError, match="tokenizer has 3 ids and the model 99"):
        load(mismatch, "text", "characters")
    foreign = save_tiny(tmp_path / "b", "text", MuLawTokenizer(), "none")
    with pytest.raises(InputError, match="needs a characters tokenizer, not mulaw"):
        load(foreign, "text", "characters")


def test_the_shipped_checkpoints_lie_beside_the_app() -> None:
    assert SHIPPED.name == "checkpoints"
    assert (SHIPPED.parent / "app").samefile(Path(load.__code__.co_filename).parent)
