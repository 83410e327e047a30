"""Fixtures of the training tests: a small text to train on, the debug preset, and readers of runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training import trainer
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.trainer import train

BOTTLES = "".join(f"{i} bottles of beer on the wall, {i} bottles of beer.\n" for i in range(200))


@pytest.fixture(autouse=True)
def steady_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs pause after fixed steps, on slow and fast machines."""
    monkeypatch.setattr(trainer, "LOOK_SECONDS", 1e9)


@pytest.fixture(scope="session")
def bottles() -> str:
    """A text that is easy to learn."""
    return BOTTLES


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The easy text as a prepared dataset."""
    directory = tmp_path_factory.mktemp("data") / "bottles"
    tokenizer = CharacterTokenizer.from_text(BOTTLES)
    parts = {"train": BOTTLES[:8000], "val": BOTTLES[8000:9000], "test": BOTTLES[9000:]}
    info = DatasetInfo("text", tokenizer.to_dict(), tokenizer.vocab_size, "bits per character", "bottles", "CC0")
    write_dataset(directory, info, {split: [tokenizer.encode(text)] for split, text in parts.items()})
    return directory


@pytest.fixture
def debug(data: Path) -> Callable[..., TrainConfig]:
    """`debug(out, **changes)` is the debug preset on one CPU thread, in float32, without samples and curves."""

    def config(out: Path, **changes: Any) -> TrainConfig:
        plain = {"device": "cpu", "threads": 1, "precision": "float32", "sample_tokens": 0, "tensorboard": False}
        return PRESETS["debug"](**{"data": data, "out": out, **plain, **changes})

    return config


@pytest.fixture(scope="session")
def metrics() -> Callable[[Path], list[tuple[float, ...]]]:
    """`metrics(run)` gives step, tokens, training loss and validation loss of each evaluation."""

    def read(run: Path) -> list[tuple[float, ...]]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [tuple(value for name, value in line.items() if name != "seconds") for line in lines]

    return read


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """`refused(config)` trains with invalid settings and returns the one-line error."""

    def message(settings: TrainConfig, **options: Any) -> str:
        with pytest.raises(InputError) as refusal:
            train(settings, **options)
        assert len(str(refusal.value).splitlines()) == 1
        return str(refusal.value)

    return message


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """`contents(directory)` gives every file in it, including hidden ones."""

    def read(directory: Path) -> dict[str, bytes]:
        return {f"{path.relative_to(directory)}": path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    return read
