"""Checkpoints: directories of safetensors and JSON with everything that generation needs. Nothing is pickled.

model.safetensors   the weights, half precision by default
config.json         format version, model type, model, modality, tokenizer, what it was trained on, steps, losses
metrics.jsonl       one line for each evaluation: step, tokens, seconds, train and validation loss
README.md           the model card
"""

import errno
import hashlib
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from waveletgpt.common.errors import InputError, quoted
from waveletgpt.common.files import atomic_directory, json_text, read_json, write_text
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS, KeysValues

FORMAT_VERSION = 1
MODEL_TYPE = "waveletgpt"
"""By which transformers knows what reads a `config.json`. Older checkpoints do not store it."""
FILES = ("model.safetensors", "config.json", "metrics.jsonl", "README.md")
LARGEST_CACHE = 1 << 29
"""Numbers in the key/value cache of one stream: 2 GiB. With rotary positions no weight depends on block_size, so it is
this that keeps a few bytes of `config.json` from taking all memory."""


SHOWN = 5
"""Unknown entries that a message lists."""
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
    weights_sha256: str = ""
    """Digest of `model.safetensors`, in hexadecimal, which identifies the checkpoint. `save_checkpoint` sets it. Older
    checkpoints do not store it; `load_checkpoint` then computes it."""


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
        info: The contents of `config.json`, except `weights_sha256`.
        metrics: The contents of `metrics.jsonl`.
        card: The contents of `README.md`.
        dtype: Precision of the weights. Those that it is too narrow for are stored in float32.
        keep_others: Keep other files in `directory`. Otherwise they are an error.

    Raises:
        InputError: `directory` holds other files and `keep_others` is False, or the weights are not finite.
        DiskFullError: The disk is full.
    """
    weights = {name: _narrowed(w.detach().cpu(), dtype) for name, w in model.state_dict().items()}
    if broken := _first_not_finite(weights):
        raise InputError(f"{directory} is not written: {broken} has weights that are not finite")
    with atomic_directory(directory, FILES, keep_others=keep_others) as partial:
        write_tensors(partial / "model.safetensors", weights, {"format": "pt"})
        info = replace(info, weights_sha256=file_sha256(partial / "model.safetensors"))
        (partial / "config.json").write_text(_config_text(info), encoding="utf-8")
        (partial / "metrics.jsonl").write_text(metrics, encoding="utf-8")
        (partial / "README.md").write_text(card, encoding="utf-8")


def _narrowed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` in `dtype`, or in float32 if `dtype` is too narrow for it."""
    narrow = weight.to(dtype)
    return (narrow if narrow.isfinite().all() else weight.float()).contiguous()


def _first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, if any."""
    return next((name for name, weight in weights.items() if not weight.isfinite().all()), None)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    config = read_json(path)
    version = config.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {quoted(version)}; this program reads version {FORMAT_VERSION}")
    if (model_type := config.pop("model_type", MODEL_TYPE)) != MODEL_TYPE:
        raise InputError(f"{path} is for a model of type {quoted(model_type)}, not {MODEL_TYPE}")
    _check_names(path, config, CheckpointInfo)
    types = {name: get_origin(hint) or hint for name, hint in get_type_hints(CheckpointInfo).items()}
    types["model"] = dict
    wrong = [name for name, value in config.items() if not isinstance(value, types[name])]
    if wrong:
        raise InputError(f"{path} has a value of the wrong type for {', '.join(wrong)}")
    if not all(_is_number(value) for value in config.get("losses", {}).values()):
        raise InputError(f"{path}: losses must be finite numbers")
    sampling = config.get("sampling", {})
    if set(sampling) - set(SAMPLING) or not all(value is None or _is_number(value) for value in sampling.values()):
        raise InputError(f"{path}: sampling may set {', '.join(SAMPLING)}, each to a number or null")
    _check_names(path, config["model"], GPTConfig)
    try:
        return CheckpointInfo(**{**config, "model": GPTConfig(**config["model"])})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_names(path: Path, values: Mapping[str, Any], kind: type) -> None:
    """Raise InputError unless `values` has entries of the dataclass `kind` only, and all that have no default."""
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    if unknown := [name for name in values if name not in known]:
        raise InputError(f"{path} has unknown entries: {', '.join(map(quoted, sorted(unknown)[:SHOWN]))}")
    if missing := [name for name, needed in known.items() if needed and name not in values]:
        raise InputError(f"{path} lacks {', '.join(missing)}")


def update_info(directory: Path, **changes: Any) -> None:
    """Write `config.json` anew with some entries changed, atomically; InputError if it is not a checkpoint."""
    info = replace(read_info(directory), **changes)
    write_text(Path(directory) / "config.json", _config_text(info))


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _config_text(info: CheckpointInfo) -> str:
    return json_text({"format_version": FORMAT_VERSION, "model_type": MODEL_TYPE, **asdict(info)}, indent=2) + "\n"


def load_checkpoint(directory: Path, *, modality: str | None = None, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a checkpoint in float32, ready to generate.

    Args:
        directory: The checkpoint.
        modality: The kind of data it must be for; None for any.
        device: Where to put the model.

    Raises:
        InputError: It is missing, damaged, of another format version, or for another kind of data. The sizes of the
            weights, their digest and their values are checked, in this order, before a model is built.
    """
    directory = Path(directory)
    info = read_info(directory)
    if modality is not None and info.modality != modality:
        raise InputError(f"{directory} is a checkpoint for {info.modality}; one for {modality} is needed")
    path = directory / "model.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, no mapping
        _check_shapes(info.model, shapes, path)
        digest = file_sha256(path)
        weights = load_file(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or 'not there'}); copy the checkpoint again"
        ) from None
    except (SafetensorError, UnicodeError):
        raise InputError(f"{path} is damaged, or no safetensors file; copy the checkpoint again") from None
    if info.weights_sha256 not in ("", digest):
        raise InputError(f"{path} is damaged: its sha256 is not the one in config.json; copy the checkpoint again")
    weights = {name: weight.float() for name, weight in weights.items()}
    if broken := _first_not_finite(weights):
        raise InputError(f"{path} cannot be used: {broken} has weights that are not finite in float32")
    model = GPT(info.model)
    model.load_state_dict(weights)
    return Checkpoint(model.to(device).eval(), replace(info, weights_sha256=digest))


def _check_shapes(config: GPTConfig, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raise InputError unless the tensors in `path` have the `shapes` of a model of `config`.

    No memory is taken for the model, and no time for blocks that the file does not hold.
    """
    described = path.parent / "config.json"
    largest = max(map(math.prod, shapes.values()), default=0)
    possible = config.n_layer <= len(shapes) and max(config.vocab_size, config.n_embd, config.n_hidden) <= largest
    if possible and config.cache_size > LARGEST_CACHE:
        most = LARGEST_CACHE * config.block_size // config.cache_size
        raise InputError(f"{described}: block_size is {config.block_size}; it may be at most {most} for these weights")
    if not possible or shapes != _expected_shapes(config):
        raise InputError(f"{path} does not hold the weights that {described} describes")


def _expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of a model."""
    with torch.device("meta"):
        weights = GPT(replace(config, mixer="shift", site="stream")).state_dict()  # shift has no weights of its own
    # The mixers are not made on meta: levels are computed with tensors.
    stream = ALL_MIXERS[config.stream_mixer](config.n_embd, config.n_levels).state_dict()
    attention = KeysValues(config.attention_mixer, config.n_embd, config.n_head, config.n_levels).state_dict()
    for i in range(config.n_layer):
        weights |= {f"blocks.{i}.attention.mixers.{name}": weight for name, weight in attention.items()}
    for i in range(config.n_layer - 1):
        weights |= {f"mixers.{i}.{name}": weight for name, weight in stream.items()}
    return {name: tuple(weight.shape) for name, weight in weights.items()}
