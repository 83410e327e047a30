"""The optimizers and their learning rate: Muon for the blocks' matrices and AdamW for the rest, or AdamW for all."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from waveletgpt.training.config import OptimizerConfig
from waveletgpt.training.muon import BatchedMuon
from waveletgpt.training.ranks.parallel import is_sharded

FUSED = {"cpu", "cuda", "mps", "xpu"}
"""Devices on which PyTorch has a fused AdamW."""
MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
    BatchedMuon: ("momentum_buffer",),
}
"""The state that each optimizer keeps for a parameter, by PyTorch's names."""


class Optimizers:
    """Several optimizers, each for some of a model's parameters, used as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.peak_lrs = [group["lr"] for group in self.param_groups]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers, in their order."""
        return [group for part in self.parts for group in part.param_groups]

    def set_lr(self, fraction: float) -> None:
        """Set each group's learning rate to this fraction of its peak."""
        for group, peak in zip(self.param_groups, self.peak_lrs, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(peak * fraction)
            else:
                group["lr"] = peak * fraction

    def keep_on_device(self) -> None:
        """Keep the learning rates on the device, where a CUDA graph of `step` reads them."""
        # PyTorch warns of the steps before the graph is captured.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        for group in self.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
            if "capturable" in group:
                group["capturable"] = True

    def step(self) -> None:
        """Update all parameters by their gradients."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def states(self) -> Iterator[tuple[Tensor, dict[str, Tensor], tuple[str, ...]]]:
        """Each parameter, its state (to be read or filled) and the names in that state."""
        for part in self.parts:
            for group in part.param_groups:
                for parameter in group["params"]:
                    yield parameter, part.state[parameter], MOMENTS[type(part)]


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """Make the optimizers of `model` that `config.name` asks for.

    muon: torch.optim.Muon (kellerjordan.github.io/posts/muon) for the matrices in `model.blocks`, with updates of the
    same size as AdamW's (arXiv 2502.16982), and AdamW for all other parameters. adamw: AdamW for all.
    Matrices have weight decay, but not those of the mixers. AdamW is fused on devices that have it. On CUDA devices
    Muon updates many matrices at once (`BatchedMuon`), unless they are sharded.

    Muon computes its update from the whole momentum of a matrix, in bfloat16. Two processes under torchrun train as
    one does (tests/training/test_processes.py, gloo on CPUs): with DDP each process computes the same updates; with
    FSDP2 DTensor gathers each matrix for its products in every process, so sharding saves memory but no work here.
    """
    by_muon, decayed, others = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, p in model.named_parameters():
        is_matrix = p.ndim >= 2 and "mixers." not in name
        if config.name == "muon" and name.startswith("blocks.") and is_matrix:
            by_muon.append(p)
        elif is_matrix:
            decayed.append(p)
        else:
            others.append(p)
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.lr if config.name == "adamw" else config.adamw_lr,
        betas=config.betas,
        fused=all(p.device.type in FUSED for p in decayed + others),
    )
    if not by_muon:
        return Optimizers(adamw)
    one_at_a_time = any(is_sharded(p) or not p.is_cuda for p in by_muon)
    muon = (torch.optim.Muon if one_at_a_time else BatchedMuon)(
        by_muon,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    return Optimizers(muon, adamw)


def lr_fraction(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of a step, as a fraction of its peak: linear warm-up, then half a cosine to min_lr_ratio.

    Args:
        config: the optimizer's settings.
        step: the step, from 0.
        steps: steps of the whole run.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine
