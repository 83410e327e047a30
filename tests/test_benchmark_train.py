import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT, GPTConfig

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "train.py"
SMALL = {"block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 16, "n_hidden": 32, "n_levels": 5, "vocab_size": 50}


@pytest.fixture(scope="module")
def train() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_train", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.MATRIX_SIZE = {"cpu": 64}
    return module


def settings(**changes: Any) -> dict[str, Any]:
    return {"model": GPTConfig(**SMALL), "steps": 4, "device": "cpu", "threads": 1, "memory": False} | changes


def check(report: dict[str, Any], contenders: set[str], steps: int) -> None:
    """Check that every number of the report follows from its step times."""
    assert set(report["contenders"]) == contenders
    n_tokens = report["batch_size"] * report["shape"]["block_size"]
    base = report["contenders"]["none"]["step_seconds"]
    for figures in report["contenders"].values():
        seconds = figures["step_seconds"]
        assert len(seconds) == steps
        assert min(seconds) > 0
        assert figures["tokens_per_second"] == pytest.approx(n_tokens / median(seconds))
        ratio = figures["step_time_over_none"]
        assert ratio["median"] == pytest.approx(median(a / b for a, b in zip(seconds, base, strict=True)))
        assert ratio["low"] <= ratio["median"] <= ratio["high"]
        flops = n_tokens * GPT(GPTConfig(**report["shape"])).flops_per_token() / median(seconds)
        assert figures["matrix_fraction"] == pytest.approx(flops / report["matrix_flops_per_second"])
        assert figures["parameters"] > 5000


def test_the_script_prints_a_table_and_a_line_of_json() -> None:
    flags = [f"--model.{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = [sys.executable, str(SCRIPT), *flags, "--contenders", "none", "torch", "--steps", "3", "--device", "cpu"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    *above, last = shown.stdout.splitlines()
    assert any("none" in line for line in above)
    report = json.loads(last)
    check(report, {"none", "torch"}, steps=3)
    for figures in report["contenders"].values():
        memory = figures["memory"]
        assert 2**20 < memory["libraries_bytes"] <= memory["peak_bytes"]
        assert memory["peak_bytes"] - memory["libraries_bytes"] < 2**28  # the model is small
    assert report["threads"] == 1
    assert not report["compiled"]


def test_all_that_is_installed_is_measured(train: Any) -> None:
    report = train.measure(train.Config(**settings()))
    theirs = {"transformers"} if importlib.util.find_spec("transformers") else set()
    assert set(report["left_out"]) == {"transformers"} - theirs
    check(report, {"none", "haar", "learnable", "torch"} | theirs, steps=4)


def test_without_transformers_its_row_is_left_out_and_why_is_told(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "find_spec", lambda _: None)
    report = train.measure(train.Config(**settings(contenders=("none", "transformers"))))
    check(report, {"none"}, steps=4)
    assert "not installed" in report["left_out"]["transformers"]


def test_every_contender_learns_from_the_same_batches(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    class Recorder:
        def __init__(self, name: str, config: Any, device: torch.device) -> None:
            self.name, self.model = name, torch.nn.Linear(1, 1)

        def step(self, tokens: torch.Tensor) -> float:
            seen.setdefault(self.name, []).append(tokens)
            return 1.0

    monkeypatch.setattr(train, "Contender", Recorder)
    train.measure(train.Config(**settings(contenders=("none", "haar", "torch"))))
    assert {len(batches) for batches in seen.values()} == {train.WARM_UP + 4}
    for a, b, c in zip(*seen.values(), strict=True):
        assert a.shape == (4, 33)
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert not torch.equal(seen["none"][0], seen["none"][1])


@pytest.mark.parametrize("name", ["none", "learnable", "canon:site=keys-values", "torch", "transformers"])
def test_contenders_are_causal_and_learn(train: Any, name: str) -> None:
    if name == "transformers":
        pytest.importorskip("transformers")
    contender = train.Contender(name, train.Config(**settings(precision="float32")), torch.device("cpu"))
    tokens = torch.randint(50, (2, 33), generator=torch.Generator().manual_seed(0))
    changed = tokens[:, :-1].clone()
    changed[:, 20] = (changed[:, 20] + 1) % 50
    with torch.no_grad():
        before, after = contender.model(tokens[:, :-1]), contender.model(changed)
    assert before.shape == (2, 32, 50)
    torch.testing.assert_close(before[:, :20], after[:, :20], rtol=0, atol=1e-5)
    assert not torch.allclose(before[:, 20:], after[:, 20:], rtol=0, atol=1e-5)

    def loss() -> float:
        with torch.no_grad():
            return float(train.token_loss(contender.model(tokens[:, :-1]), tokens[:, 1:]))

    untrained = loss()
    for _ in range(10):
        assert contender.step(tokens) > 0
    assert loss() < untrained - 0.02


def test_a_larger_batch_takes_more_memory(train: Any) -> None:
    small, large = (
        train.peak_memory("none", train.Config(**settings(batch_size=size))) for size in (1, 2048)
    )  # the logits alone are 2048 * 32 * 50 * 4 bytes = 13 MB
    assert large["peak_bytes"] - small["peak_bytes"] > 13e6


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"contenders": ("haar",)}, "none"),
        ({"contenders": ("none", "nanogpt")}, "nanogpt"),
        ({"contenders": ("none", "canon:site=keys")}, "--contenders canon:site=keys: site is"),
        ({"contenders": ("none", "none")}, "twice"),
        ({"steps": 1}, "--steps"),
        ({"batch_size": 0}, "--batch-size"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(train: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as refusal:
        train.Config(**settings(**changes))
    assert len(str(refusal.value).splitlines()) == 1
