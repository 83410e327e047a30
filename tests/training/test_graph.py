"""Training by a CUDA graph, with a stand-in for the graph that calls the captured function again."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from operations import Operations
from torch import Tensor, nn

from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training import trainer
from waveletgpt.training.config import OptimizerConfig, TrainConfig
from waveletgpt.training.gradients import STEPS, GradientCheck
from waveletgpt.training.optimizer import make_optimizer
from waveletgpt.training.ranks import devices, graph
from waveletgpt.training.ranks.graph import Parts, StepGraph
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.trainer import launches_at_once, train

Debug = Callable[..., TrainConfig]
Metrics = Callable[[Path], list[tuple[float, ...]]]
CUDA = torch.cuda.is_available()


class Replayed(StepGraph):
    """A StepGraph on a CPU. A replay calls the captured function again, on the buffers of the graph."""

    captures: list[int]

    def _aside(self) -> Tensor:
        return self.learn(self.parts)

    def _captured(self) -> Callable[[], Tensor]:
        self.captures.append(self.steps_left)
        return lambda: self.learn(self.parts)


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the trainer take its steps by the stand-in. Returns an element for each capture."""
    found = list[int]()
    monkeypatch.setattr(Replayed, "captures", found, raising=False)
    monkeypatch.setattr(torch.cuda, "Stream", mock.MagicMock())
    monkeypatch.setattr(graph, "pinned", lambda tensor: tensor)
    monkeypatch.setattr(trainer, "StepGraph", Replayed)
    monkeypatch.setattr(trainer, "launches_at_once", lambda config, *_: config.cuda_graph)
    return found


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"optimizer": "adamw"}, {"dropout": 0.1}])
def test_a_run_by_the_graph_learns_what_one_without_it_learns(
    debug: Debug, tmp_path: Path, metrics: Metrics, captures: list[int], changes: dict[str, Any]
) -> None:
    config = debug(tmp_path / "without", accumulate=changes.get("accumulate", 1), cuda_graph=False)
    optimizer = replace(config.optimizer, name=changes.get("optimizer", "muon"))
    config = replace(config, optimizer=optimizer, model=replace(config.model, dropout=changes.get("dropout", 0.0)))
    train(config)
    assert captures == []
    train(replace(config, out=tmp_path / "with", cuda_graph=True))
    assert captures == [0]  # once, after the warm-up
    for found, expected in zip(metrics(tmp_path / "with"), metrics(tmp_path / "without"), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)  # learning rates are rounded to float32


def test_a_resumed_run_by_the_graph_equals_an_uninterrupted_one(
    debug: Debug, tmp_path: Path, metrics: Metrics, captures: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(debug(tmp_path / "whole", steps=30))
    with monkeypatch.context() as patch, pytest.raises(trainer.Stopped):
        patch.setattr(trainer, "stop_requested", lambda: nullcontext(lambda: True))
        train(debug(tmp_path / "stopped", steps=30))
    train(debug(tmp_path / "stopped", steps=30, resume=True))
    assert len(captures) == 2
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    for part in ("last", "best"):
        weights = [(tmp_path / run / part / "model.safetensors").read_bytes() for run in ("stopped", "whole")]
        assert weights[0] == weights[1]


def test_the_graph_is_only_for_one_compiled_process_on_cuda(debug: Debug, tmp_path: Path) -> None:
    cuda, config = torch.device("cuda"), debug(tmp_path, compile=True)
    assert launches_at_once(config, cuda, Processes())
    assert not launches_at_once(config, torch.device("cpu"), Processes())
    assert not launches_at_once(config, cuda, Processes(0, 2))
    assert not launches_at_once(replace(config, compile=False), cuda, Processes())
    assert not launches_at_once(replace(config, cuda_graph=False), cuda, Processes())


WAITING = {"item", "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh"}


def test_neither_a_step_nor_the_check_of_its_gradients_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation has a result that the host must wait for, and none makes a tensor from a Python value."""
    monkeypatch.setattr(Tensor, "is_cuda", True, raising=False)
    model = GPT(GPTConfig(vocab_size=7, block_size=8, n_layer=2, n_head=1, n_embd=4, n_hidden=8, n_levels=3))
    optimizer = make_optimizer(model, OptimizerConfig())
    optimizer.keep_on_device()
    monkeypatch.undo()
    gradients = GradientCheck(model, Processes())
    operations = Operations()
    for step in range(STEPS + 1):
        optimizer.set_lr(0.5)
        with operations:
            loss = model(torch.zeros(1, 8, dtype=torch.long)).logsumexp(-1).mean()
            loss.backward()
            gradients.look()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        assert operations.seen.isdisjoint(WAITING), step
    assert operations.seen >= {"_fused_adamw_", "baddbmm"}


def test_strided_batches_are_made_contiguous_before_they_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[bool]()
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: seen.append(self.is_contiguous()) or self)
    batch = torch.arange(12).view(3, 4)
    assert torch.equal(devices.pinned(batch[:, :-1]), batch[:, :-1])
    assert seen == [True]


@pytest.mark.skipif(not CUDA, reason="there is no CUDA device to capture a graph on")
@pytest.mark.parametrize("mixer", ["none", "haar", "learnable"])
def test_a_run_on_cuda_is_the_same_with_and_without_the_graph(
    debug: Debug, tmp_path: Path, metrics: Metrics, mixer: str
) -> None:
    config = debug(tmp_path / "with", device="cuda", compile=True)
    config = replace(config, model=replace(config.model, mixer=mixer))
    train(config)
    train(replace(config, out=tmp_path / "without", cuda_graph=False))
    for found, expected in zip(metrics(tmp_path / "with"), metrics(tmp_path / "without"), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_buffers_hold_the_batch_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", mock.MagicMock())
    monkeypatch.setattr(graph, "pinned", lambda tensor: tensor)
    monkeypatch.setattr(Replayed, "captures", [], raising=False)
    addresses = set[int]()

    def learn(parts: Parts) -> Tensor:
        addresses.update(tensor.data_ptr() for pair in parts for tensor in pair)
        return torch.stack([x.sum() - y.sum() for x, y in parts]).sum().float()

    steps = Replayed(learn, torch.device("cpu"), warm_up=2)
    for step in range(5):
        parts = [(torch.full((2, 3), 3 * step + i), torch.full((2, 3), step)) for i in range(2)]
        assert float(steps(parts)) == sum(6 * (3 * step + i - step) for i in range(2))
    assert len(addresses) == 4
