"""The settings of a run: presets, validation, the optimizer, the command line."""

import math
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training.command import train_command
from waveletgpt.training.config import (
    MAY_DIFFER,
    OF_A_MACHINE,
    PRESETS,
    OptimizerConfig,
    TrainConfig,
    as_flags,
    differences,
)
from waveletgpt.training.optimizer import learning_rate, make_optimizer

Debug = Callable[..., TrainConfig]


def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    optimizer = OptimizerConfig(lr=0.1, min_lr_ratio=0.1, warmup_steps=4)
    rates = [learning_rate(optimizer, step, 24) for step in range(24)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[14] == pytest.approx(0.055)  # half-way down
    assert rates[9] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert learning_rate(optimizer, 24, 24) == pytest.approx(0.01)
    assert learning_rate(replace(optimizer, warmup_steps=0), 0, 24) == 0.1
    assert max(learning_rate(optimizer, step, 3) for step in range(3)) == pytest.approx(0.075)  # all warm-up


@pytest.mark.parametrize("mixer", ["learnable", "dyadic"])
def test_only_matrices_are_decayed_and_no_mixers(mixer: str) -> None:
    tiny = GPTConfig(block_size=32, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=5, mixer=mixer)
    model = GPT(tiny)
    decayed, others = make_optimizer(model, OptimizerConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in names[id(p)] or names[id(p)].startswith("mixers.") for p in others["params"])
    assert not any("norm" in names[id(p)] or "mixers." in names[id(p)] for p in decayed["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("batch_size", 0),
        ("steps", 0),
        ("accumulate", 0),
        ("accumulate", 3),
        ("sample_tokens", -1),
        ("eval_every", -1),
        ("eval_windows", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("threads", -1),
    ],
)
def test_impossible_settings_are_refused_by_flag(debug: Debug, tmp_path: Path, setting: str, value: int) -> None:
    with pytest.raises(InputError, match="--" + setting.replace("_", "-")):
        debug(tmp_path, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0.0),
        ("lr", 1.0),
        ("lr", math.nan),
        ("min_lr_ratio", 2.0),
        ("warmup_steps", -1),
        ("weight_decay", -1.0),
        ("weight_decay", math.nan),
        ("betas", (1.0, 0.9)),
        ("betas", (0.9, -0.1)),
        ("clip", 0.0),
        ("clip", math.nan),
    ],
)
def test_impossible_settings_of_the_optimizer_are_refused_by_flag(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match="--optimizer." + setting.replace("_", "-")):
        OptimizerConfig(**{setting: value})


def test_presets_are_valid_and_the_debug_one_is_small() -> None:
    for name, preset in PRESETS.items():
        settings = preset(data=Path(), out=Path())
        assert settings.model.mixer == "none", name
    assert GPT(PRESETS["debug"](data=Path(), out=Path()).model).n_parameters() < 20_000


def test_settings_are_compared_by_name_and_told_as_flags() -> None:
    settings = TrainConfig(data=Path("a"), out=Path("b"), precision="float32")
    begun, now = settings.to_dict(), replace(settings, out=Path("c"), threads=3, accumulate=4, shard=True).to_dict()
    assert differences(begun, now) == {}
    assert differences({}, now) == {}  # what is not told of had its default
    changed = replace(settings, steps=7, optimizer=OptimizerConfig(betas=(0.8, 0.9)), model=GPTConfig(mixer="haar"))
    found = differences(begun, changed.to_dict())
    assert found == {"model.mixer": "none", "optimizer.betas": [0.9, 0.95], "steps": 2000}
    assert as_flags(found) == "--model.mixer none --optimizer.betas 0.9 0.95 --steps 2000"
    known = {field.name for field in fields(TrainConfig)}
    assert known > MAY_DIFFER and known > OF_A_MACHINE


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.mixer", "db4"], "mixer is 'db4'"),
        (["--preset", "huge"], "--preset takes one of debug, cpu, paper"),
        (["--preset"], "--preset"),
        (["--optimizer.lr", "-1"], "--optimizer.lr"),
        (["--stpes", "3"], "--stpes"),
        (["--accumulate", "3"], "--accumulate 3 must divide it"),
        ([], "no prepared data"),
    ],
)
def test_the_command_tells_what_is_wrong_in_one_line(
    flags: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["--data", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/run", *flags]
    monkeypatch.setattr(sys, "argv", ["train_text.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        train_command("text", "Train.")
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert list(tmp_path.iterdir()) == []
