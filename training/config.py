"""The settings of a training run, and the presets that run as shipped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPTConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up, cosine decay and gradient clipping."""

    lr: float = 1e-3
    """Peak learning rate."""
    min_lr_ratio: float = 0.1
    """Learning rate at the last step, as a fraction of the peak."""
    warmup_steps: int = 200
    weight_decay: float = 0.1
    """On matrices; norms and wavelet kernels have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        if not 0 < self.lr < 1:
            raise InputError(f"--optimizer.lr is {self.lr}; it must be above 0 and below 1")
        if not 0 <= self.min_lr_ratio <= 1:
            raise InputError(f"--optimizer.min-lr-ratio is {self.min_lr_ratio}; it must be from 0 to 1")
        if self.warmup_steps < 0:
            raise InputError(f"--optimizer.warmup-steps is {self.warmup_steps}; it must be 0 or more")
        if not self.weight_decay >= 0:
            raise InputError(f"--optimizer.weight-decay is {self.weight_decay}; it must be 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"--optimizer.betas are {self.betas}; both must be at least 0 and below 1")
        if not self.clip > 0:
            raise InputError(f"--optimizer.clip is {self.clip}; it must be above 0")


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: Path
    """Directory of prepared data."""
    out: Path
    """Directory of the run; made if it is not there."""
    resume: bool = False
    """Continue the run in --out from its last save."""
    model: GPTConfig = field(default_factory=GPTConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_size: int = 32
    """Windows of block_size tokens a step, over all processes."""
    steps: int = 2000
    eval_every: int = 250
    """Steps between two evaluations; each saves."""
    eval_windows: int = 64
    """Windows of the validation split that an evaluation reads, the same every time."""
    seed: int = 0
    """Decides initial weights, order of the data and dropout."""
    device: str = "auto"
    """auto (an accelerator where there is one), cpu, cuda, ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto is bfloat16 autocast on an accelerator and float32 on a CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch. One run a core beats two threads for small models."""
    compile: bool = False
    """Compile the model with torch.compile; pays on an accelerator."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "eval_every", "eval_windows"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} is {getattr(self, name)}; it must be 1 or more")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed is {self.seed}; it must be 0 or more and below 2**63")
        if self.threads < 0:
            raise InputError(f"--threads is {self.threads}; it must be 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content


Preset = Callable[..., TrainConfig]

PRESETS: dict[str, Preset] = {
    "debug": partial(
        TrainConfig,
        model=GPTConfig(block_size=64, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=6),
        optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2),
        batch_size=8,
        steps=20,
        eval_every=10,
        eval_windows=8,
    ),
    "cpu": partial(
        TrainConfig,
        model=GPTConfig(n_layer=6),
        optimizer=OptimizerConfig(lr=3e-3, warmup_steps=200),
        batch_size=4,
        steps=4000,
        eval_every=250,
        eval_windows=64,
    ),
    "paper": partial(
        TrainConfig,
        model=GPTConfig(),
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=500),
        batch_size=64,
        steps=12_000,
        eval_every=500,
        eval_windows=256,
        compile=True,
    ),
}
"""debug: seconds anywhere. cpu: the shipped checkpoints. paper: the paper's shape, 393 million tokens, for one GPU."""
