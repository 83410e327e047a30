"""What resuming needs: weights in float32 and the optimizers' moments, in one safetensors file.

Nothing else is needed, since the order of the data, the learning rate and every random draw are functions of the
seed and the step. Tensors are whole, however many processes share the run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.models.checkpoint import write_tensors
from waveletgpt.training.optimizer import Optimizers
from waveletgpt.training.ranks.parallel import hand_out, whole
from waveletgpt.training.ranks.processes import Processes

State = dict[str, Tensor]
"""Whole tensors on the CPU: model.<name>, and optimizer.<moment>.<name>."""


def collect(model: nn.Module, optimizer: Optimizers, *, keep: bool) -> State:
    """The state of a run, or nothing unless `keep`; all processes must collect at the same time."""
    state = {}

    def take(name: str, tensor: Tensor) -> None:
        found = whole(tensor)
        if keep:
            state[name] = found.cpu().contiguous()

    for name, weight in model.state_dict().items():
        take(f"model.{name}", weight)
    names = names_of(model)
    for parameter, memory, moments in optimizer.memories():
        for moment in moments:
            take(f"optimizer.{moment}.{names[parameter]}", memory[moment])
    return state


def weights_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's part of a state, as `load_state_dict` takes it."""
    return {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}


def write_state(path: Path, state: State, facts: dict[str, Any]) -> None:
    """Write a state atomically; `facts` (JSON-able) come back from `read_facts`."""
    with atomic_path(path) as partial:
        write_tensors(partial, state, {"facts": json.dumps(facts)})


def read_facts(path: Path) -> dict[str, Any]:
    """The `facts` of a saved state; InputError if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            return facts
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be resumed from: {error}") from None


def read_state(path: Path, model: nn.Module, optimizer: Optimizers) -> State:
    """The tensors of a saved state; InputError if they are not those of `model` and its optimizer."""
    expected = {f"model.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    names = names_of(model)
    for parameter, _, moments in optimizer.memories():
        shape = tuple(parameter.shape)
        expected |= {f"optimizer.{m}.{names[parameter]}": () if m == "step" else shape for m in moments}
    with safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, no mapping
        wrong = sorted(name for name in expected if found.get(name) != expected[name])
        if wrong:
            raise InputError(f"{path} cannot be resumed from: it does not hold {wrong[0]} of this model")
        return {name: file.get_tensor(name) for name in expected}


def restore(state: State, model: nn.Module, optimizer: Optimizers, processes: Processes) -> None:
    """Put a state, which only the first process needs to have, into `model` and `optimizer` on all of them."""
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            weight.copy_(hand_out(state.get(f"model.{name}"), weight, processes))
    names = names_of(model)
    for parameter, memory, moments in optimizer.memories():
        like = {"step": torch.zeros((), device=parameter.device)}
        for moment in moments:
            saved = state.get(f"optimizer.{moment}.{names[parameter]}")
            memory[moment] = hand_out(saved, like.get(moment, parameter), processes)


def names_of(model: nn.Module) -> dict[Tensor, str]:
    """The name of each parameter."""
    return {parameter: name for name, parameter in model.named_parameters()}
