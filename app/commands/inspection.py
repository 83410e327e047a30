"""`waveletgpt inspect`: what a checkpoint is, its layer's kernels, its losses and its speed here, on one screen."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from waveletgpt.app.checkpoints import LoadedCheckpoint, load_any
from waveletgpt.app.commands.options import Inspect
from waveletgpt.app.locating import locate
from waveletgpt.app.modalities.base import AppModality, load_modality
from waveletgpt.app.streaming import make_ready
from waveletgpt.common.units import in_unit
from waveletgpt.models.devices import pick_device
from waveletgpt.models.filters.base import CausalFilter
from waveletgpt.models.generation import generate

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16
"""Bars of a kernel."""
SECONDS = 1.0
"""For which the speed is measured."""


def run(options: Inspect) -> None:
    """Run the command. Raises InputError if the checkpoint cannot be loaded."""
    torch.set_num_threads(1)  # as `waveletgpt generate`
    loaded = load_any(locate(options.checkpoint), pick_device(options.device))
    modality = load_modality(loaded.info.modality)
    console = Console(highlight=False, soft_wrap=True)
    for line in described(loaded, modality):
        console.print(line, markup=False)
    if table := kernels([*loaded.model.mixers], modality.tokens):
        console.print(table)
    make_ready()
    console.print(speed(loaded, modality), markup=False)


def described(loaded: LoadedCheckpoint, modality: AppModality[Any]) -> list[str]:
    """What a checkpoint is, how it was trained and how well it does, in one line each."""
    info, model = loaded.info, loaded.info.model
    trained = info.trained_on
    losses = [f"{split} {in_unit(nats, modality.loss_unit):.3f}" for split, nats in info.losses.items()]
    sampling = [f"{name} {value:g}" for name, value in modality.sampling(info).items() if value is not None]
    layer = "nothing (the baseline)" if model.mixer == "none" else f"{model.mixer}, {model.place}"
    facts = {
        "checkpoint": f"{loaded.name}, digest {loaded.digest}",
        "model": f"{loaded.model.n_parameters():,} parameters: {model.n_layer} blocks of {model.n_embd} coordinates, "
        f"{model.n_head} heads, {model.n_hidden} hidden",
        "context": f"{model.block_size:,} {modality.tokens}, {model.positions} positions",
        "mixes over time": layer,
        "data": f"{trained.get('source', 'not known')}; licence: {trained.get('licence', 'not known')}",
        "training": f"{info.steps:,} steps, {info.tokens:,} {modality.tokens}, seed {info.seed}, "
        f"{trained.get('hardware', 'hardware not known')}",
        "losses": f"{', '.join(losses)} {modality.loss_unit}" if losses else "not known",
        "sampling": ", ".join(sampling),
    }
    return [f"{name:<15} {value}" for name, value in facts.items()]


def kernels(mixers: Sequence[nn.Module], tokens: str) -> Table | None:
    """The kernels of the layers between the blocks, by their length, averaged over layers and coordinates without their
    signs. None for a baseline and for layers that are no filters over time.
    """
    filters = [one for one in mixers if isinstance(one, CausalFilter) and getattr(one, "kind", "") != "none"]
    if not filters:
        return None
    lengths = torch.tensor(filters[0].lengths)
    matrices = torch.stack([one.kernel_matrix().detach().abs().cpu() for one in filters])  # (layers, C, W)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{tokens} back", justify="right")
    for head in ("coordinates", "mean age"):
        table.add_column(head, justify="right")
    table.add_column("weight by age, the newest first")
    for length in sorted(set(filters[0].lengths)):
        weights = matrices[:, lengths == length, :length].mean((0, 1))  # (length,)
        age = (weights * torch.arange(length)).sum() / weights.sum().clamp(min=1e-12)
        table.add_row(f"{length:,}", f"{int((lengths == length).sum())}", f"{age:.1f}", bars(weights))
    return table


def bars(weights: Tensor) -> str:
    """Weights (N,) above 0 as at most `WIDTH` bars, each the mean of a part, the highest full."""
    parts = torch.stack([part.mean() for part in weights.tensor_split(min(WIDTH, len(weights)))])
    heights = (parts / parts.max().clamp(min=1e-12) * (len(BARS) - 1)).round().long()
    return "".join(BARS[height] for height in heights.tolist())


def speed(loaded: LoadedCheckpoint, modality: AppModality[Any]) -> str:
    """How fast the model generates here, in one stream and one thread."""
    steps = generate(loaded.model, torch.zeros(1, 0, dtype=torch.long))
    list(islice(steps, 8))
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        count += len(list(islice(steps, 16)))
    each_second = count / (time.perf_counter() - begun)
    amount = modality.describe(round(each_second), loaded.tokenizer)
    return f"{'speed here':<15} {each_second:,.0f} {modality.tokens} a second: {amount}"
