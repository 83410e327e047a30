"""The settings of a training run, and presets of them."""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from waveletgpt.common.errors import InputError, check_whole
from waveletgpt.models.gpt import GPTConfig

Precision = Literal["auto", "float32", "bfloat16"]
OptimizerName = Literal["muon", "adamw"]
TrackerName = Literal["trackio", "wandb"]
MOST_THREADS = 1024


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizers, with linear warm-up, cosine decay and gradient clipping."""

    name: OptimizerName = "muon"
    """muon: Muon for the matrices of the blocks, AdamW for everything else. adamw: AdamW for all, as in the paper."""
    lr: float = 6e-3
    """Peak learning rate: of Muon with muon, of AdamW with adamw."""
    adamw_lr: float = 3e-3
    """With muon, the peak learning rate of AdamW, for embedding, head, norms and filters."""
    momentum: float = 0.95
    """Momentum of Muon."""
    min_lr_ratio: float = 0.1
    """Learning rate at the last step, as a fraction of the peak."""
    warmup_steps: int = 200
    weight_decay: float = 0.1
    """Weight decay of matrices. Norms and wavelet kernels have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Betas of AdamW."""
    clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        if self.name not in get_args(OptimizerName):
            raise InputError(f"--optimizer.name is {self.name!r}; choose muon or adamw")
        if not 0 < self.lr < 1:
            raise InputError(f"--optimizer.lr is {self.lr}; it must be above 0 and below 1")
        if not 0 < self.adamw_lr < 1:
            raise InputError(f"--optimizer.adamw-lr is {self.adamw_lr}; it must be above 0 and below 1")
        if not 0 <= self.momentum < 1:
            raise InputError(f"--optimizer.momentum is {self.momentum}; it must be at least 0 and below 1")
        if not 0 <= self.min_lr_ratio <= 1:
            raise InputError(f"--optimizer.min-lr-ratio is {self.min_lr_ratio}; it must be from 0 to 1")
        check_whole("--optimizer.warmup-steps", self.warmup_steps, 0)
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
    """Directory of the run, made if missing."""
    resume: bool = False
    """Continue the run in --out from its last save."""
    allow_changes: bool = False
    """With --resume: allow settings to differ from those of the run so far, except the model's. block_size may differ
    too with rotary positions, so that training can begin with short windows."""
    start_from: Path | None = None
    """Begin with the weights of this checkpoint and a new optimizer, to train it further or to fine-tune it on other
    data. The model's settings must be the checkpoint's; with rotary positions block_size may differ. Give another
    --seed than that of its own run, so that the windows are others."""
    model: GPTConfig = field(default_factory=GPTConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_size: int = 32
    """Windows of block_size tokens in each step, over all processes."""
    accumulate: int = 1
    """Split each batch into this many parts to save memory. The step stays the same."""
    steps: int = 2000
    eval_every: int = 250
    """Steps between two evaluations. Each evaluation also saves the run."""
    eval_windows: int = 64
    """Windows of the validation split in each evaluation, always the same ones."""
    augment: bool = False
    """Vary the training windows: music changes key and tempo, audio changes loudness and gets some noise."""
    sample_tokens: int | None = None
    """Length in tokens of the sample that each evaluation writes to samples/; 0 for none. The default is 500
    characters, 0.5 s of audio or 500 events."""
    tensorboard: bool = True
    """Log to tensorboard/ if TensorBoard is installed."""
    track: tuple[TrackerName, ...] = ()
    """Also log to trackio, wandb or both, which must be installed. Both stay on this machine."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and dropout."""
    device: str = "auto"
    """auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, mps, ..."""
    precision: Precision = "auto"
    """auto is bfloat16 autocast on CUDA devices and CPUs that multiply bfloat16 natively, else float32."""
    threads: int = 0
    """CPU threads; 0 is PyTorch's default. Several small models train faster with one thread each."""
    compile: bool = False
    """Compile the model with torch.compile, which makes training faster on GPUs."""
    cuda_graph: bool = True
    """With --compile on one CUDA device: launch each step at once, as a CUDA graph."""
    shard: bool = False
    """Shard the model among the processes of torchrun (FSDP2), for models that outgrow one GPU."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "steps", "eval_every", "eval_windows"):
            check_whole(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        if self.batch_size % self.accumulate:
            raise InputError(f"--batch-size is {self.batch_size}; --accumulate {self.accumulate} must divide it")
        if self.sample_tokens is not None:
            check_whole("--sample-tokens", self.sample_tokens, 0, "no samples")
        if not {*self.track} <= {*get_args(TrackerName)}:
            raise InputError(f"--track is {' '.join(self.track)!r}; choose from {' and '.join(get_args(TrackerName))}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed is {self.seed}; it must be 0 or more and below 2**63")
        check_whole("--threads", self.threads, 0, most=MOST_THREADS)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON-able values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content


CHANGEABLE = {
    *("data", "out", "resume", "allow_changes"),
    *("device", "threads", "compile", "cuda_graph", "accumulate", "shard", "sample_tokens", "tensorboard", "track"),
}
"""Settings that may change when a run is resumed, because they do not affect what is learned."""
MACHINE_SETTINGS = {"data", "out", "device", "threads"}
"""Settings that may differ between the processes of a run."""


def differences(begun: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Compare the settings of a run so far with those it shall go on with.

    Args:
        begun: `TrainConfig.to_dict` of the run so far. A missing setting had its default.
        now: `TrainConfig.to_dict` of now.

    Returns:
        The settings that differ, by dotted name, with their values in `begun`; without those that may change.
    """
    then = _complete(begun)
    if then["precision"] == "auto":  # what it meant before it was resolved
        then["precision"] = "float32"
    flat = {name: value for name, value in _flat(now).items() if name not in CHANGEABLE}
    return {name: then.get(name) for name, value in flat.items() if then.get(name) != value}


def _complete(begun: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run by dotted name. A missing one had its default when the run began."""
    then = _flat(TrainConfig(data=Path(), out=Path()).to_dict()) | _flat(begun)
    if begun and "optimizer.name" not in _flat(begun):  # written before there was a choice
        then["optimizer.name"] = "adamw"
    return then


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def as_flags(settings: dict[str, Any]) -> str:
    """Settings by dotted name, as flags of the command line."""
    given = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, list) else [value]
            given.append(shlex.join([f"--{flag}", *map(str, values)]))
    return " ".join(given)


Preset = Callable[..., TrainConfig]

PRESETS: dict[str, Preset] = {
    "debug": partial(
        TrainConfig,
        model=GPTConfig(block_size=64, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=6),
        optimizer=OptimizerConfig(lr=1e-2, adamw_lr=1e-2, warmup_steps=2),
        batch_size=8,
        steps=20,
        eval_every=10,
        eval_windows=8,
        sample_tokens=64,
    ),
    "cpu": partial(
        TrainConfig,
        model=GPTConfig(n_layer=6),
        optimizer=OptimizerConfig(warmup_steps=200),
        batch_size=4,
        steps=14_000,
        eval_every=500,
        eval_windows=64,
    ),
    "paper": partial(
        TrainConfig,
        model=GPTConfig(),
        optimizer=OptimizerConfig(warmup_steps=500),
        batch_size=64,
        steps=12_000,
        eval_every=500,
        eval_windows=256,
        augment=True,
        compile=True,
    ),
}
"""debug: seconds on any machine. cpu: an hour on one core, so a baseline and its twin take an hour on two cores.
paper: the paper's shape and 393 million tokens, for one GPU."""


NOT_REPEATED = {"resume", "allow_changes", "vocab_size", "data_digests", "changes", "modality", "command"}
"""What a run.json holds that a command which begins the run anew does not give."""


def training_command(settings: dict[str, Any]) -> str:
    """The command that trains with `settings` (`TrainConfig.to_dict`), from the preset that needs the fewest flags."""
    settings = {name: value for name, value in _complete(settings).items() if not NOT_REPEATED & {*name.split(".")}}

    def flags(preset: str) -> dict[str, Any]:
        defaults = _flat(PRESETS[preset](data=Path(), out=Path()).to_dict())
        return {name: value for name, value in settings.items() if defaults.get(name) != value}

    preset = min(PRESETS, key=lambda name: len(flags(name)))
    return f"python training/train.py --preset {preset} {as_flags(flags(preset))}"
