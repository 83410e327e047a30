"""Checkpoints of tiny models."""

from pathlib import Path

import torch

from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.tokenizers.registry import Tokenizer


def write_tiny(directory: Path, modality: str, tokenizer: Tokenizer, mixer: str, vocab_size: int = 0) -> Path:
    """Write a checkpoint of an untrained model; `vocab_size` may differ from the tokenizer's."""
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=vocab_size or tokenizer.vocab_size,
        block_size=64,
        n_layer=2,
        n_head=2,
        n_embd=16,
        n_hidden=32,
        n_levels=6,
        mixer=mixer,
    )
    info = CheckpointInfo(
        modality,
        config,
        tokenizer.to_dict(),
        trained_on={"source": "nothing at all"},
        steps=1234,
        losses={"train": 2.0, "val": 3.0},
    )
    save_checkpoint(directory, GPT(config), info)
    return directory
