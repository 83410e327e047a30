"""The state of a run: float32 weights and the optimizers' moments, in one safetensors file.

Resuming needs nothing else, because the order of the data, the learning rate and all random numbers depend only on
the seed and the step. Tensors are stored whole, however many processes share the run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path, json_text
from waveletgpt.models.checkpoint import write_tensors
from waveletgpt.training.optimizer import Optimizers
from waveletgpt.training.ranks.parallel import full_tensor, scatter
from waveletgpt.training.ranks.processes import Processes

State = dict[str, Tensor]
"""Whole tensors on the CPU: model.<name>, and optimizer.<moment>.<name>."""


def collect(model: nn.Module, optimizer: Optimizers, *, keep: bool) -> State:
    """Collect the state of a run, empty unless `keep`. All processes must call this at the same time."""
    state = {}

    def take(name: str, tensor: Tensor) -> None:
        found = full_tensor(tensor)
        if keep:
            state[name] = found.cpu().contiguous()

    for name, weight in model.state_dict().items():
        take(f"model.{name}", weight)
    names = names_of(model)
    for parameter, slot, moments in optimizer.states():
        for moment in moments:
            take(f"optimizer.{moment}.{names[parameter]}", slot[moment])
    return state


def weights_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights in a state, for `load_state_dict`."""
    return {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}


def write_state(path: Path, state: State, facts: dict[str, Any]) -> None:
    """Write a state atomically, together with `facts` (JSON-able) for `read_facts`."""
    with atomic_path(path) as partial:
        write_tensors(partial, state, {"facts": json_text(facts)})


def read_facts(path: Path) -> dict[str, Any]:
    """Read the `facts` of a saved state. Raises InputError if that fails."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            return facts
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be resumed from: {error}") from None


def read_state(path: Path, model: nn.Module, optimizer: Optimizers) -> State:
    """Read the tensors of a saved state. Raises InputError if they do not fit `model` and its optimizer."""
    expected = {f"model.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    names = names_of(model)
    for parameter, _, moments in optimizer.states():
        shape = tuple(parameter.shape)
        expected |= {f"optimizer.{m}.{names[parameter]}": () if m == "step" else shape for m in moments}
    with safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, no mapping
        wrong = sorted(name for name in expected if found.get(name) != expected[name])
        if wrong:
            raise InputError(f"{path} cannot be resumed from: it does not hold {wrong[0]} of this model")
        return {name: file.get_tensor(name) for name in expected}


def restore(state: State, model: nn.Module, optimizer: Optimizers, processes: Processes) -> None:
    """Load a state into `model` and `optimizer` in all processes. Only the first one needs the state."""
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            weight.copy_(scatter(state.get(f"model.{name}"), weight, processes))
    names = names_of(model)
    for parameter, slot, moments in optimizer.states():
        like = {"step": torch.zeros((), device=parameter.device)}
        for moment in moments:
            saved = state.get(f"optimizer.{moment}.{names[parameter]}")
            slot[moment] = scatter(saved, like.get(moment, parameter), processes)


def names_of(model: nn.Module) -> dict[Tensor, str]:
    """The name of each parameter."""
    return {parameter: name for name, parameter in model.named_parameters()}
