"""Checkpoints: directories of safetensors and JSON with everything that generation needs. Nothing is pickled.

model.safetensors   the weights, half precision by default
config.json         format version, model, modality, tokenizer, what it was trained on, steps, losses
metrics.jsonl       one line for each evaluation: step, tokens, seconds, train and validation loss
README.md           the model card
"""

import errno
import json
import math
import os
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_directory, write_text
from waveletgpt.models.gpt import GPT, GPTConfig

FORMAT_VERSION = 1
FILES = ("model.safetensors", "config.json", "metrics.jsonl", "README.md")


SAMPLING = ("temperature", "top_p", "min_p")
"""What `CheckpointInfo.sampling` may set."""


@dataclass(frozen=True)
class CheckpointInfo:
    """The contents of a checkpoint's `config.json`."""

    modality: str
    """Kind of data: text, audio or music."""
    model: GPTConfig
    tokenizer: dict[str, Any]
    """The argument of `waveletgpt.tokenizers.registry.tokenizer_from_dict`."""
    trained_on: dict[str, Any] = field(default_factory=dict)
    """Source, licence and digest of the data."""
    steps: int = 0
    tokens: int = 0
    seed: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    """Nats per token by split, "train" and "val"."""
    sampling: dict[str, float | None] = field(default_factory=dict)
    """Settings to sample with by default (temperature, top_p, min_p); empty for those of the modality."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in float32 and evaluation mode, and its `config.json`."""

    model: GPT
    info: CheckpointInfo


def save_checkpoint(
    directory: Path,
    model: GPT,
    info: CheckpointInfo,
    *,
    metrics: str = "",
    card: str = "",
    dtype: torch.dtype = torch.float16,
    keep_others: bool = False,
) -> None:
    """Write a checkpoint. One that `directory` already holds is replaced once the new one is complete.

    Args:
        directory: Where to write.
        model: The weights.
        info: The contents of `config.json`.
        metrics: The contents of `metrics.jsonl`.
        card: The contents of `README.md`.
        dtype: Precision of the weights.
        keep_others: Keep other files in `directory`. Otherwise they are an error.

    Raises:
        InputError: `directory` holds other files and `keep_others` is False.
        DiskFullError: The disk is full.
    """
    weights = {name: w.detach().to("cpu", dtype).contiguous() for name, w in model.state_dict().items()}
    with atomic_directory(directory, FILES, keep_others=keep_others) as partial:
        write_tensors(partial / "model.safetensors", weights, {"format": "pt"})
        (partial / "config.json").write_text(_config_text(info), encoding="utf-8")
        (partial / "metrics.jsonl").write_text(metrics, encoding="utf-8")
        (partial / "README.md").write_text(card, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file. Raises OSError if it cannot be written."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None
    path.chmod(0o644)


def read_info(directory: Path) -> CheckpointInfo:
    """Read a checkpoint's `config.json`. Raises InputError if it is missing, damaged or of another format version."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise InputError(f"{directory} is not a checkpoint: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config.pop("format_version")
    except (ValueError, KeyError, AttributeError, TypeError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not a checkpoint's configuration: {error}") from None
    if version != FORMAT_VERSION:
        raise InputError(f"{directory} has format version {version}; this program reads version {FORMAT_VERSION}")
    unknown = set(config) - {f.name for f in fields(CheckpointInfo)}
    if unknown:
        raise InputError(f"{path} has unknown entries: {', '.join(sorted(unknown))}")
    types = {name: get_origin(hint) or hint for name, hint in get_type_hints(CheckpointInfo).items()}
    types["model"] = dict
    wrong = [name for name, value in config.items() if not isinstance(value, types[name])]
    if wrong:
        raise InputError(f"{path} has a value of the wrong type for {', '.join(wrong)}")
    sampling = config.get("sampling", {})
    if set(sampling) - set(SAMPLING) or not all(_is_setting(value) for value in sampling.values()):
        raise InputError(f"{path}: sampling may set {', '.join(SAMPLING)}, each to a number or null")
    try:
        return CheckpointInfo(**{**config, "model": GPTConfig(**config["model"])})
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} does not describe a model: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def update_info(directory: Path, **changes: Any) -> None:
    """Write `config.json` anew with some entries changed, atomically; InputError if it is not a checkpoint."""
    info = replace(read_info(directory), **changes)
    write_text(Path(directory) / "config.json", _config_text(info))


def _is_setting(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _config_text(info: CheckpointInfo) -> str:
    return json.dumps({"format_version": FORMAT_VERSION, **asdict(info)}, indent=2) + "\n"


def load_checkpoint(directory: Path, *, modality: str | None = None, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a checkpoint in float32, ready to generate.

    Args:
        directory: The checkpoint.
        modality: The kind of data it must be for; None for any.
        device: Where to put the model.

    Raises:
        InputError: It is missing, damaged, of another format version, or for another kind of data.
    """
    directory = Path(directory)
    info = read_info(directory)
    if modality is not None and info.modality != modality:
        raise InputError(f"{directory} is a checkpoint for {info.modality}; one for {modality} is needed")
    path = directory / "model.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    try:
        model = GPT(info.model)
        model.load_state_dict(weights)
    except RuntimeError:  # other names or shapes, or not enough memory for the model
        raise InputError(f"{path} does not hold the weights that {directory / 'config.json'} describes") from None
    return Checkpoint(model.to(device).eval(), info)
