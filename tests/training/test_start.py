"""Runs that begin with the weights of a checkpoint."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from waveletgpt.models.checkpoint import load_checkpoint, read_info, save_checkpoint
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.trainer import train

Debug = Callable[..., TrainConfig]
Refused = Callable[..., str]


def test_a_run_begins_where_a_checkpoint_ended(debug: Debug, tmp_path: Path) -> None:
    first = debug(tmp_path / "first", steps=60)
    before = train(first)
    begun = first.out / "best"
    later = debug(tmp_path / "later", steps=20, start_from=begun, seed=1)
    later = replace(later, model=replace(later.model, block_size=128))
    after = train(later)
    assert after.best_val_loss < before.best_val_loss + 0.1  # 20 steps from random weights end far above
    fresh = train(debug(tmp_path / "fresh", steps=20, seed=1))
    assert after.best_val_loss < fresh.best_val_loss - 0.2

    info = read_info(later.out / "last")
    assert (info.steps, info.tokens) == (80, 60 * 8 * 64 + 20 * 8 * 128)
    rows = [json.loads(line) for line in (later.out / "last" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(10, 90, 10)) and rows[-1]["tokens"] == info.tokens
    own = [json.loads(line) for line in (later.out / "metrics.jsonl").read_text().splitlines()]
    earlier = [json.loads(line) for line in (begun / "metrics.jsonl").read_text().splitlines()]
    assert rows[: len(earlier)] == earlier and own[-1]["step"] == 20
    assert rows[-1]["seconds"] == pytest.approx(earlier[-1]["seconds"] + own[-1]["seconds"], abs=2e-3)
    start = info.trained_on["started_from"]
    assert start["weights_sha256"] == read_info(begun).weights_sha256 and start["tokens"] == 60 * 8 * 64
    card = (later.out / "last" / "README.md").read_text()
    assert "a checkpoint of 60 steps" in card and card.count("python training/train.py") == 2
    assert card.index("--steps 60") < card.index("--start-from first/best")
    assert str(tmp_path) not in card + (later.out / "last" / "config.json").read_text()


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(debug: Debug, tmp_path: Path) -> None:
    first = debug(tmp_path / "first")
    train(first)
    whole = debug(tmp_path / "whole", start_from=first.out / "best", seed=1, steps=30)
    train(whole)
    half = replace(whole, out=tmp_path / "half", steps=10)
    train(half)
    train(replace(whole, out=half.out, resume=True, allow_changes=True))
    ends = [load_checkpoint(one.out / "last").info for one in (whole, half)]
    assert ends[0].tokens == ends[1].tokens
    assert ends[0].trained_on["started_from"] == ends[1].trained_on["started_from"]


def test_what_cannot_be_begun_with_is_refused(debug: Debug, tmp_path: Path, refused: Refused) -> None:
    first = debug(tmp_path / "first")
    train(first)
    later = debug(tmp_path / "later", start_from=first.out / "best")
    assert "give --model.n-layer 2 --model.mixer none" in refused(
        replace(later, model=replace(later.model, n_layer=3, mixer="haar"))
    )
    assert "is not a checkpoint" in refused(replace(later, start_from=tmp_path))
    info = read_info(first.out / "best")
    other = {**info.tokenizer, "alphabet": info.tokenizer["alphabet"][:-1] + "~"}
    save_checkpoint(tmp_path / "other", load_checkpoint(first.out / "best").model, replace(info, tokenizer=other))
    assert "has another tokenizer" in refused(replace(later, start_from=tmp_path / "other"))
    (first.out / "best" / "metrics.jsonl").write_text("{")
    assert "metrics.jsonl is damaged; mend it" in refused(later)
    assert not later.out.exists()
