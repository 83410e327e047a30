"""Two ways to continue when the context is full: read its last half again, or roll the cache.

A rolling cache keeps the keys and values of the last T positions and a wavelet's windows as they are: no pause, but
the model then sees what training never showed it. Measures the loss on held-out data by position, and the time a token
past the first context, for one or more checkpoints. Prints a table, then one JSON object.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import json_text
from waveletgpt.common.progress import progress_bar
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.decoding import make_decoder
from waveletgpt.models.generation import score
from waveletgpt.models.gpt import GPT, Block, rotate, rotation_table
from waveletgpt.training.data import Dataset, check_long_enough

CONTEXTS = 4
"""Length of each passage of data, in contexts."""


@dataclass(frozen=True)
class Config:
    """Loss by position and time per token, for reading again and for a rolling cache."""

    checkpoints: tuple[Path, ...]
    """Directories of checkpoints, all of one kind of data."""
    data: Path
    """Directory of prepared data. The validation split is used."""
    stretches: int = 48
    """Number of passages of four contexts, spread evenly over the split."""
    rounds: int = 15
    """Rounds of timing. The result is their median."""


@torch.inference_mode()
def rolling_log_probs(model: GPT, ids: Tensor) -> Tensor:
    """Log-probabilities (B, S - 1) of ids[:, 1:], for ids (B, S). In every block, a position sees the last T."""
    c, S = model.config, ids.shape[1] - 1
    if not c.rotary:
        raise InputError("learned positions end with the context: their cache cannot roll")
    rotation = rotation_table(S, c.n_embd // c.n_head, half=c.positions == "half-rope")
    back = torch.arange(S)[:, None] - torch.arange(S)
    seen = (back >= 0) & (back < c.block_size)
    x = model.embedding(ids[:, :-1])
    for i, block in enumerate(cast("list[Block]", list(model.blocks))):
        h = block.attention_norm(x)
        qkv = block.attention.qkv(h)
        if block.attention.mixers:
            qkv = block.attention.mixers(qkv)
        qkv = qkv.view(*h.shape[:2], 3, c.n_head, -1).permute(2, 0, 3, 1, 4)  # (3, B, H, S, D)
        q, k = rotate(qkv[:2], rotation)
        y = F.scaled_dot_product_attention(q, k, qkv[2], attn_mask=seen)
        x = x + block.attention.out(y.transpose(1, 2).flatten(2))
        x = x + block.feed_forward(block.feed_forward_norm(x))
        if i < len(model.mixers):
            x = model.mixers[i](x)
    log_probs: Tensor = model.head(model.norm(x)).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return log_probs


def losses(model: GPT, tokens: Any, config: Config, advance: Any) -> dict[str, dict[str, float]]:
    """Nats per token of both ways, by range of positions."""
    T = model.config.block_size
    length = CONTEXTS * T + 1
    offsets = np.linspace(0, len(tokens) - length, config.stretches).astype(int)
    nats: dict[str, list[Tensor]] = {"re-reading": [], "rolling": []}
    for offset in offsets:
        ids = torch.from_numpy(tokens[offset : offset + length].astype(np.int64))[None]
        nats["re-reading"].append(-score(model, ids)[0, 1:])
        nats["rolling"].append(-rolling_log_probs(model, ids)[0])
        advance(1)
    names = "1st half", "2nd half", "2nd context", "3rd context", "4th context", "past the 1st"
    bounds = (0, T // 2), (T // 2, T), (T, 2 * T), (2 * T, 3 * T), (3 * T, 4 * T), (T, 4 * T)
    by_place = {way: torch.stack(rows) for way, rows in nats.items()}  # (stretches, positions)
    report = {
        way: {p: round(float(all_[:, a:b].mean()), 4) for p, (a, b) in zip(names, bounds, strict=True)}
        for way, all_ in by_place.items()
    }
    differences = (by_place["rolling"] - by_place["re-reading"])[:, T:].mean(1)
    report["rolling - re-reading, past the 1st"] = {
        "mean": round(float(differences.mean()), 4),
        "standard_error": round(float(differences.std() / len(differences) ** 0.5), 4),
    }
    return report


@torch.inference_mode()
def times(model: GPT, rounds: int) -> dict[str, float]:
    """Milliseconds per token past the first context, for both ways in turn. Sampling is left out."""
    T = model.config.block_size
    half = T // 2
    decoder = make_decoder(model)
    context, token = torch.zeros(1, T - half + 1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    seconds: dict[str, list[float]] = {"re-reading": [], "rolling": []}
    for _ in range(rounds):
        started = time.perf_counter()
        decoder.read(context)
        for _ in range(half - 1):
            decoder.step(token)
        seconds["re-reading"].append((time.perf_counter() - started) / half)
        started = time.perf_counter()
        for _ in range(half - 1):
            cast("Any", decoder).length = T - 1  # attention then reads as much as in a full rolling cache
            decoder.step(token)
        seconds["rolling"].append((time.perf_counter() - started) / (half - 1))
    figures = {way: round(1e3 * median(of), 4) for way, of in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["re-reading"], seconds["rolling"], strict=True)]
    return {**figures, "ratio": round(median(ratios), 3)}


def main() -> None:
    """Run the benchmark and print its results."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(1)
    tokens = Dataset.open(config.data).tokens("val")
    report = {}
    with progress_bar("reading", len(config.checkpoints) * config.stretches) as advance:
        for path in config.checkpoints:
            model = load_checkpoint(path).model
            check_long_enough(tokens, CONTEXTS * model.config.block_size, f"{config.data}: the val split")
            report[path.name] = {"nats": losses(model, tokens, config, advance), "ms": times(model, config.rounds)}
    for name, of in report.items():
        places = list(of["nats"]["rolling"])
        table = Table("", *places, "ms a token", title=f"{name}: nats per token")
        for way in ("re-reading", "rolling"):
            table.add_row(way, *(f"{of['nats'][way][p]:.4f}" for p in places), f"{of['ms'][way]:.3f}")
        Console().print(table)
    print(json_text(report))


if __name__ == "__main__":
    run_command(main)
