"""The optimizers and their learning rate: Muon for the blocks' matrices and AdamW for the rest, or AdamW for all."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from waveletgpt.training.config import OptimizerConfig

FUSED = {"cpu", "cuda", "mps", "xpu"}
"""Devices that PyTorch has a fused AdamW for."""
MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
}
"""What each optimizer remembers of a parameter, by the name that PyTorch gives it."""


class Optimizers:
    """Several optimizers, each with its share of a model's parameters, that step as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.peaks = [group["lr"] for group in self.param_groups]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, one after the other."""
        return [group for part in self.parts for group in part.param_groups]

    def set_rate(self, fraction: float) -> None:
        """Use this fraction of each group's peak learning rate from the next step on."""
        for group, peak in zip(self.param_groups, self.peaks, strict=True):
            group["lr"] = peak * fraction

    def step(self) -> None:
        """Update all parameters by their gradients."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def memories(self) -> Iterator[tuple[Tensor, dict[str, Tensor], tuple[str, ...]]]:
        """Each parameter, what is remembered of it (to be read or filled), and under which names."""
        for part in self.parts:
            for group in part.param_groups:
                for parameter in group["params"]:
                    yield parameter, part.state[parameter], MOMENTS[type(part)]


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """Muon for the matrices in `model.blocks`, AdamW for everything else; AdamW for all with `config.name` "adamw".

    Matrices are decayed, but not those of the mixers. AdamW is fused where the device has it. Muon is
    torch.optim.Muon (kellerjordan.github.io/posts/muon), its updates scaled to the size of AdamW's (arXiv 2502.16982).
    """
    by_muon, decayed, others = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, p in model.named_parameters():
        if config.name == "muon" and name.startswith("blocks.") and p.ndim == 2:
            by_muon.append(p)
        elif p.ndim >= 2 and "mixers." not in name:
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
    muon = torch.optim.Muon(
        by_muon,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    return Optimizers(muon, adamw)


def rate_fraction(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of 0-based `step` out of `steps` over its peak: linear warm-up, then half a cosine down to
    min_lr_ratio.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine
