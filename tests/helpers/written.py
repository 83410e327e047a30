"""Runs as training writes them, without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from tiny import write_tiny

from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.registry import Tokenizer

RATE = 4000  # Hz
TOKENIZERS: dict[str, Tokenizer] = {
    "text": CharacterTokenizer("".join(sorted("\n $&/<>{}0123456789abcdefghijklmnopqrstuvwxyz"))),
    "audio": MuLawTokenizer(sample_rate=RATE),
    "music": MidiTokenizer(),
}


def rows(losses: Sequence[float], every: int = 10) -> str:
    """Lines of metrics.jsonl; a step has 512 tokens and takes 0.5 seconds."""
    lines = [
        {"step": step, "tokens": 512 * step, "seconds": 0.5 * step, "train_loss": loss + 0.1, "val_loss": loss}
        for step, loss in zip(range(every, every * len(losses) + 1, every), losses, strict=True)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def settings(modality: str, mixer: str, **changes: Any) -> dict[str, Any]:
    """A run.json of 40 steps."""
    return {
        "model": {"mixer": mixer, "block_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 16, "n_hidden": 32},
        "optimizer": {"name": "muon", "lr": 0.01},
        "batch_size": 8,
        "steps": 40,
        "seed": 0,
        "sample_tokens": None,
        "data_digests": {"train": "ab", "val": "cd"},
        "modality": modality,
        "command": f"python training/train.py --preset debug --model.mixer {mixer}",
        **changes,
    }


def write_run(
    path: Path, modality: str, mixer: str, losses: Sequence[float], *, every: int = 10, **changes: Any
) -> Path:
    """A run with an evaluation after each `every` steps, each with a checkpoint's description and a sample."""
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(settings(modality, mixer, **changes)))
    if losses:
        write_tiny(path / "last", modality, TOKENIZERS[modality], mixer)
        (path / "metrics.jsonl").write_text(rows(losses, every))
    for step in range(every, every * len(losses) + 1, every):
        write_sample(path, modality, step)
    return path


def write_sample(path: Path, modality: str, step: int) -> None:
    """A sample that differs from step to step."""
    (path / "samples").mkdir(exist_ok=True)
    stem = path / "samples" / f"step-{step:06d}"
    if modality == "text":
        stem.with_suffix(".txt").write_text(f"<b>written</b> by {path.name.replace('-', ' ')} after {step} steps\n")
    elif modality == "audio":
        tone = 0.5 * torch.sin(2 * torch.pi * 10 * step * torch.arange(RATE // 2) / RATE)
        soundfile.write(stem.with_suffix(".wav"), tone.numpy(), RATE)
    else:
        ids = torch.randint(4, 300, (60,), generator=torch.Generator().manual_seed(step))
        write_midi(stem.with_suffix(".mid"), MidiTokenizer().decode(ids))
