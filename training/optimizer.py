"""AdamW and its learning rate."""

import math

import torch
from torch import nn

from waveletgpt.training.config import OptimizerConfig

FUSED = {"cpu", "cuda", "mps", "xpu"}
"""Devices that PyTorch has a fused AdamW for."""


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW, fused where the device has it, with weight decay on matrices only, and not on the mixers' filters."""
    decays = {name: p.ndim >= 2 and "mixers." not in name for name, p in model.named_parameters()}
    matrices = [p for name, p in model.named_parameters() if decays[name]]
    others = [p for name, p in model.named_parameters() if not decays[name]]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = all(p.device.type in FUSED for p in matrices + others)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of 0-based `step` out of `steps`: linear warm-up, then half a cosine down to min_lr_ratio."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
