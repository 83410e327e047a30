"""What only resuming needs: weights in float32, AdamW's moments and the random state, in one safetensors file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
    """Write the state of a run atomically; `facts` (JSON-able) come back from `load_state`."""
    tensors = {f"model.{name}": w for name, w in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS:
            tensors[f"optimizer.{moment}.{name}"] = optimizer.state[parameter][moment]
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    with atomic_path(path) as partial:
        contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(contiguous, partial, metadata={"facts": json.dumps(facts)})


def read_facts(path: Path) -> dict[str, Any]:
    """The `facts` of a saved state; InputError if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            return facts
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be resumed from: {error}") from None


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a saved state back into `model`, `optimizer` and the random generators."""
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118, not a mapping
            tensors[name] = file.get_tensor(name)
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            moment: tensors[f"optimizer.{moment}.{name}"].to(parameter.device) for moment in MOMENTS
        }
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
