"""The settings of a run: presets, validation, the optimizer, the command line."""

import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training import evaluate
from waveletgpt.training.command import parse, train_command
from waveletgpt.training.config import (
    CHANGEABLE,
    MACHINE_SETTINGS,
    PRESETS,
    OptimizerConfig,
    OptimizerName,
    TrainConfig,
    as_flags,
    differences,
    training_command,
)
from waveletgpt.training.optimizer import lr_fraction, make_optimizer

Debug = Callable[..., TrainConfig]


def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    optimizer = OptimizerConfig(min_lr_ratio=0.1, warmup_steps=4)
    rates = [lr_fraction(optimizer, step, 24) for step in range(24)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rates[14] == pytest.approx(0.55)  # half-way down
    assert rates[9] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert lr_fraction(optimizer, 24, 24) == pytest.approx(0.1)
    assert lr_fraction(replace(optimizer, warmup_steps=0), 0, 24) == 1
    assert max(lr_fraction(optimizer, step, 3) for step in range(3)) == pytest.approx(0.75)  # every step is warm-up


@pytest.mark.parametrize("mixer", ["learnable", "dyadic"])
@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_matrices_are_decayed_but_no_mixers_and_muon_has_those_of_the_blocks(name: OptimizerName, mixer: str) -> None:
    tiny = GPTConfig(block_size=32, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=5, mixer=mixer)
    model = GPT(tiny)
    optimizer = make_optimizer(model, OptimizerConfig(name=name, lr=0.02, adamw_lr=0.03, weight_decay=0.3))
    names = {parameter: parameter_name for parameter_name, parameter in model.named_parameters()}
    *muon, decayed, others = [{names[p] for p in group["params"]} for group in optimizer.param_groups]
    matrices = {n for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("mixers.")}
    of_blocks = {n for n in matrices if n.startswith("blocks.")}
    assert len(of_blocks) == 8
    assert matrices - of_blocks == {"embedding.weight", "head.weight"}
    assert muon == ([of_blocks] if name == "muon" else [])
    assert decayed == (matrices - of_blocks if name == "muon" else matrices)
    assert others == set(names.values()) - matrices
    assert [group["weight_decay"] for group in optimizer.param_groups] == [*([0.3] * len(muon)), 0.3, 0.0]
    optimizer.set_lr(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == ([0.01, 0.015, 0.015] if muon else [0.01, 0.01])


def test_muon_turns_the_momentum_of_a_matrix_into_a_near_orthogonal_update() -> None:
    """The update is compared with a singular value decomposition; it is as large as AdamW's updates."""
    model = GPT(GPTConfig(block_size=32, n_layer=1, n_head=2, n_embd=32, n_hidden=64, n_levels=5))
    optimizer = make_optimizer(model, OptimizerConfig(lr=0.01, weight_decay=0.0))
    weight = model.get_parameter("blocks.0.feed_forward.0.weight")  # (64, 32)
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    assert weight.grad is not None
    u, _, v = torch.linalg.svd(weight.grad, full_matrices=False)
    optimizer.step()
    update = (before - weight.detach()) / 0.01
    assert torch.nn.functional.cosine_similarity(update.flatten(), (u @ v).flatten(), dim=0) > 0.95
    assert 0.1 < update.square().mean().sqrt() < 0.3  # 0.2 as in arXiv 2502.16982


def test_a_run_begun_when_there_was_adamw_alone_says_so(tmp_path: Path) -> None:
    now = TrainConfig(data=tmp_path, out=tmp_path, precision="float32").to_dict()
    begun = {**now, "optimizer": {name: now["optimizer"][name] for name in ("lr", "warmup_steps", "betas")}}
    assert as_flags(differences(begun, now)) == "--optimizer.name adamw"


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
        ("name", "sgd"),
        ("adamw_lr", 1.0),
        ("momentum", 1.0),
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
    assert differences({}, now) == {}  # a setting that is not stored had its default
    changed = replace(settings, steps=7, optimizer=OptimizerConfig(betas=(0.8, 0.9)), model=GPTConfig(mixer="haar"))
    found = differences(begun, changed.to_dict())
    assert found == {"model.mixer": "none", "optimizer.betas": [0.9, 0.95], "steps": 2000}
    assert as_flags(found) == "--model.mixer none --optimizer.betas 0.9 0.95 --steps 2000"
    known = {field.name for field in fields(TrainConfig)}
    assert known > CHANGEABLE and known > MACHINE_SETTINGS


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


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_in_a_card_gives_the_settings_again(preset: str) -> None:
    """Whatever the preset, also for switches, several values, and paths with a space."""
    config = PRESETS[preset](data=Path("data/my novels"), out=Path("runs/one"), seed=3, augment=True, tensorboard=False)
    config = replace(config, optimizer=replace(config.optimizer, name="adamw", betas=(0.8, 0.9)), track=("wandb",))
    command = training_command({**config.to_dict(), "resume": True, "changes": [], "data_digests": {"train": "ab"}})
    python, script, *flags = shlex.split(command)
    assert (python, script) == ("python", "training/train.py")
    assert flags[:2] == ["--preset", preset]
    assert parse(TrainConfig, flags, "") == config


def test_a_run_without_a_named_optimizer_was_trained_with_adamw() -> None:
    settings = PRESETS["cpu"](data=Path("d"), out=Path("r")).to_dict()
    del settings["optimizer"]["name"]
    assert "--optimizer.name adamw" in training_command(settings)


def whole_numbers() -> list[tuple[type, str]]:
    """Every setting that is a whole number."""
    kinds = (TrainConfig, OptimizerConfig, GPTConfig, evaluate.Config)
    return [(kind, f.name) for kind in kinds for f in fields(kind) if f.type in {"int", int, "int | None", int | None}]


@pytest.mark.parametrize(("kind", "name"), whole_numbers())
def test_no_whole_number_is_too_large_to_be_refused(kind: Any, name: str) -> None:
    given = {TrainConfig: {"data": Path(), "out": Path()}, evaluate.Config: {"checkpoint": Path(), "data": Path()}}
    for number in (10**30, 2**64, 2**63, -1):
        if (kind, name) == (evaluate.Config, "seed"):
            continue  # checked with the other settings of the samples
        with pytest.raises(InputError) as refusal:
            kind(**given.get(kind, {}), **{name: number})
        said = str(refusal.value)
        assert name.replace("_", "-") in said.replace("_", "-") and "\n" not in said and len(said) < 200


def test_the_whole_numbers_are_found() -> None:
    assert {(TrainConfig, "threads"), (GPTConfig, "n_embd"), (OptimizerConfig, "warmup_steps")} < {*whole_numbers()}
