"""`publish.py`: what it measures and writes, and what it refuses."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import FILES, CheckpointInfo, read_info, save_checkpoint, update_info
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training import evaluate, publish
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo, write_dataset
from waveletgpt.training.modalities import audio, music, text
from waveletgpt.training.preparing.composing import compose
from waveletgpt.training.publish import Config
from waveletgpt.training.quality.samples import Settings
from waveletgpt.training.trainer import train

TINY = GPTConfig(block_size=32, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=3, mixer="haar")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passages and quotes are short, and a single setting is tried."""
    for module, changes in (
        (text, {"passage_tokens": lambda _: 200, "sample_tokens": lambda _: 60}),
        (audio, {"passage_tokens": lambda _: 800}),
        (music, {"passage_tokens": lambda _: 100}),
    ):
        monkeypatch.setattr(module, "TRAINING_MODALITY", replace(module.TRAINING_MODALITY, **changes))
    monkeypatch.setattr(evaluate, "GRID", [Settings(0.5, min_p=0.01)])


@pytest.fixture
def run(debug: Callable[..., TrainConfig], tmp_path: Path) -> Path:
    """A trained run."""
    train(debug(tmp_path / "run"))
    return tmp_path / "run"


def published(run: Path, data: Path, out: Path, **settings: Any) -> str:
    """The card of a published checkpoint."""
    publish.publish(Config(run, data, out, **{"samples": 2, "device": "cpu", **settings}))
    return (out / "README.md").read_text()


def test_a_run_becomes_a_checkpoint_with_the_losses_of_whole_splits(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "checkpoints" / "bottles"
    card = published(run, data, out, choose=True)
    assert {path.name for path in out.iterdir()} == set(FILES)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (out / name).read_bytes() == (run / "best" / name).read_bytes()
    before, info = read_info(run / "best"), read_info(out)
    measured = {
        split: evaluate.measure(evaluate.Config(out, data, split, windows=0, device="cpu")) for split in ("val", "test")
    }
    assert info.losses == {"train": before.losses["train"]} | {
        split: pytest.approx(report["nats_per_token"]) for split, report in measured.items()
    }
    for name, split in (("validation", "val"), ("test", "test")):
        windows = measured[split]["tokens"] // 64
        assert f"| {name} | {windows}, all | {measured[split]['bits_per_character']:.4f} |" in card
    assert re.search(r"\| training \| 124, spread evenly \|", card)  # of 8,000 characters
    assert info == replace(before, losses=info.losses, sampling={"temperature": 0.5, "top_p": None, "min_p": 0.01})
    assert "2 samples of 200 characters without a prompt, temperature 0.5, min_p 0.01, beside" in card
    assert "| known words |" in card and "hours in training steps" in card and "train.py --preset debug" in card


@pytest.mark.slow
def test_the_texts_in_a_card_are_those_that_its_commands_make(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "checkpoints" / "bottles"
    card = published(run, data, out, samples=0)
    assert "held-out" not in card
    commands = re.findall("^waveletgpt generate .*$", card, re.MULTILINE)
    quotes = re.split(r"\nSeed \d:\n\n", card)[1:]
    assert len(commands) == len(quotes) == 3
    _, *words = shlex.split(commands[2])
    made = subprocess.run(
        [sys.executable, "-m", "waveletgpt", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "".join(f"    {line}\n" for line in made.removesuffix("\n").splitlines()) == quotes[2]


@pytest.mark.parametrize("modality", ["audio", "music"])
def test_samples_that_cannot_be_read_are_measured(modality: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer: Any = MuLawTokenizer(4000) if modality == "audio" else MidiTokenizer()
    ids = torch.randint(256, (1000,)) if modality == "audio" else tokenizer.encode(compose(0, 30.0))
    licence = "CC BY-NC-SA 4.0: non-commercial use only"
    info = DatasetInfo(modality, tokenizer.to_dict(), tokenizer.vocab_size, "nats per event", "a source", licence)
    info = write_dataset(tmp_path / "data", info, {split: [ids] for split in SPLITS})
    model = GPT(replace(TINY, vocab_size=tokenizer.vocab_size))
    about = {"source": info.source, "licence": licence, "report": info.report, "sha256": info.splits["train"]["sha256"]}
    checkpoint = CheckpointInfo(modality, model.config, tokenizer.to_dict(), about, losses={"train": 5.0, "val": 5.0})
    row = {"step": 1, "train_loss": 5.0, "val_loss": 5.0, "seconds": 1.0}
    save_checkpoint(tmp_path / "c", model, checkpoint, metrics=f"{json.dumps(row)}\n")
    card = published(tmp_path / "c", tmp_path / "data", tmp_path / "new", samples=0, hardware="an abacus")
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n") and "pipeline_tag" not in card
    length = {"audio": "0.2", "music": "100"}[modality]  # in seconds or events
    assert f"waveletgpt generate {modality} --checkpoint checkpoints/new --length {length} --seed 2\n" in card
    assert "| measure | seed 0 | seed 1 | seed 2 |" in card and "| hardware | an abacus |" in card
    again = published(tmp_path / "new", tmp_path / "data", tmp_path / "new", samples=0)  # in its own place
    assert again == card


def test_an_older_run_takes_its_settings_from_run_json(run: Path, data: Path, tmp_path: Path) -> None:
    trained_on = read_info(run / "best").trained_on
    update_info(run / "best", trained_on={name: trained_on[name] for name in ("source", "licence", "report", "sha256")})
    card = published(run, data, tmp_path / "new", samples=0)
    assert "--out runs/run " in card and "hardware" not in card
    assert read_info(tmp_path / "new").trained_on["settings"] == trained_on["settings"]


def test_what_cannot_be_published_is_refused_and_nothing_is_written(run: Path, data: Path, tmp_path: Path) -> None:
    info = Dataset.open(data).info
    ids = torch.zeros(500, dtype=torch.long)
    write_dataset(tmp_path / "other", replace(info, splits={}), {split: [ids] for split in SPLITS})
    (tmp_path / "empty").mkdir()
    for source, given, settings, message in (
        (tmp_path / "empty", data, {}, "holds no checkpoint"),
        (run, tmp_path / "other", {}, "trained on other data"),
        (run, tmp_path / "empty", {}, "no prepared data"),
        (run, data, {"samples": 1}, "--samples is 1"),
        (run, data, {"samples": 0, "choose": True}, "add --samples"),
    ):
        with pytest.raises(InputError, match=message):
            published(source, given, tmp_path / "new", **settings)
        assert not (tmp_path / "new").exists()
