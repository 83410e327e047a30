"""A run that is stopped and resumed equals an uninterrupted run."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.wavelet import KINDS
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import trainer
from waveletgpt.training.command import command_to_resume
from waveletgpt.training.config import OptimizerConfig, TrainConfig
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.runs.stopping import BOUNCE, Stopped, stop_requested
from waveletgpt.training.trainer import train

ROOT = Path(__file__).parents[2]
Debug = Callable[..., TrainConfig]
Metrics = Callable[[Path], list[tuple[float, ...]]]
Refused = Callable[..., str]
Contents = Callable[[Path], dict[str, bytes]]


def stopped_after(looks: int) -> Callable[[], Any]:
    """A stand-in for `stop_requested` that asks the trainer to stop at its check number `looks`."""

    @contextmanager
    def stop_requested() -> Iterator[Callable[[], bool]]:
        left = iter([False] * (looks - 1))
        yield lambda: next(left, True)

    return stop_requested


@pytest.mark.parametrize(
    "mixer", [*(pytest.param(name, marks=() if name == "haar" else pytest.mark.slow) for name in KINDS)]
)
def test_a_resumed_run_equals_an_uninterrupted_one(debug: Debug, tmp_path: Path, metrics: Metrics, mixer: str) -> None:
    """Runs with dropout, stopped once or twice, at or between evaluations, are equal bit for bit."""
    settings = debug(tmp_path / "whole", steps=30, eval_every=15)
    settings = replace(settings, model=replace(settings.model, dropout=0.1, mixer=mixer))
    train(settings)
    whole = load_file(tmp_path / "whole" / "state.safetensors")
    for looks in ((1,), (2,), (3,), (4,), (2, 2)):
        parts = replace(settings, out=tmp_path / f"parts {looks}")
        for count in looks:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(trainer, "stop_requested", stopped_after(count))
                train(parts)
            parts = replace(parts, resume=True)
        train(parts)
        for name in ("last/model.safetensors", "best/model.safetensors"):
            assert (parts.out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert metrics(parts.out) == metrics(tmp_path / "whole")
        resumed = load_file(parts.out / "state.safetensors")
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


class FailedError(Exception):
    """Stands for a crash of the machine."""


def test_a_run_that_failed_goes_on_from_its_last_evaluation(
    debug: Debug, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(debug(tmp_path / "whole"))
    computed = trainer.token_loss
    calls = iter(range(13))

    def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
        if next(calls, None) is None:
            raise FailedError
        return computed(logits, targets)

    with monkeypatch.context() as patch, pytest.raises(FailedError):
        patch.setattr(trainer, "token_loss", token_loss)
        train(debug(tmp_path / "parts"))
    assert load_checkpoint(tmp_path / "parts" / "last").info.steps == 10
    train(debug(tmp_path / "parts", resume=True))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    weights = [(tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_stops_and_says_how_to_go_on(
    debug: Debug, data: Path, tmp_path: Path, metrics: Metrics, number: signal.Signals
) -> None:
    """A real command gets a real signal. The command that it prints completes the run without a difference."""
    flags = ["--preset", "debug", "--data", f"{data}", "--device", "cpu", "--threads", "1", "--sample-tokens", "0"]
    flags += ["--steps", "200", "--eval-every", "40", "--out"]
    command = [sys.executable, f"{ROOT / 'training' / 'train_text.py'}", *flags]
    parts = tmp_path / "the parts"
    process = subprocess.Popen([*command, f"{parts}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (parts / "metrics.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.send_signal(number)  # launchers pass on the signal that the terminal has also sent
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "error: interrupted\n"
    shown = out.partition("To resume:\n")[2].strip()
    assert shown.endswith(" --resume") and "'" in shown  # quoted for the shell
    done = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
    assert "Resuming from step" in done.stdout
    train(debug(tmp_path / "whole", steps=200, eval_every=40, precision="auto"))
    assert metrics(parts) == metrics(tmp_path / "whole")
    weights = [(run / "last" / "model.safetensors").read_bytes() for run in (tmp_path / "whole", parts)]
    assert weights[0] == weights[1]


def test_asked_again_a_process_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("waveletgpt.training.runs.stopping.time.monotonic", lambda: now)
    with stop_requested() as stopping:
        assert not stopping()
        signal.raise_signal(signal.SIGINT)
        assert stopping()
        now = BOUNCE / 2
        signal.raise_signal(signal.SIGINT)  # the signal handler is still the first one
        now = 2 * BOUNCE
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_command_to_go_on_is_the_one_that_was_given() -> None:
    given = ["python", "training/train_text.py", "--out", "my runs/a"]
    assert command_to_resume(given, {}) == "python training/train_text.py --out 'my runs/a' --resume"
    assert command_to_resume([*given, "--resume"], {}) == "python training/train_text.py --out 'my runs/a' --resume"
    worker = ["/usr/bin/python3", "-u", *given[1:]]
    one_machine = {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
    resumed = "torchrun --nproc_per_node 2 training/train_text.py --out 'my runs/a' --resume"
    assert command_to_resume(worker, one_machine) == resumed
    several = command_to_resume(worker, {**one_machine, "GROUP_WORLD_SIZE": "3"})
    assert several == f"{resumed}  (with torchrun's other options, on each machine)"


def test_a_finished_run_is_not_trained_again(
    debug: Debug, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(debug(tmp_path))
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr(trainer, "token_loss", None)
    assert train(debug(tmp_path, resume=True)) == first
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_what_is_missing_beside_the_state_is_made_good(
    debug: Debug, tmp_path: Path, metrics: Metrics, contents: Contents
) -> None:
    train(debug(tmp_path, sample_tokens=8))
    before = contents(tmp_path)
    (tmp_path / "best" / "config.json").unlink()
    (tmp_path / "best" / "metrics.jsonl").write_text("something else")
    (tmp_path / "metrics.jsonl").write_text((tmp_path / "metrics.jsonl").read_text() + '{"step": 30}\n')  # ahead
    (tmp_path / "samples" / "step-000020.txt").unlink()
    left = tmp_path / ".partial-abc" / "new"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    train(debug(tmp_path, sample_tokens=8, resume=True))
    assert contents(tmp_path) == before
    (tmp_path / "metrics.jsonl").write_text("")  # behind
    train(debug(tmp_path, sample_tokens=8, resume=True))
    assert contents(tmp_path) == before


def test_a_run_cut_off_before_its_first_save_begins_anew(debug: Debug, tmp_path: Path, metrics: Metrics) -> None:
    train(debug(tmp_path / "whole"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "run.json").write_bytes((tmp_path / "whole" / "run.json").read_bytes())
    train(debug(tmp_path / "parts", resume=True))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(
    debug: Debug, tmp_path: Path, refused: Refused, contents: Contents
) -> None:
    assert "leave --resume out" in refused(debug(tmp_path / "run", resume=True))
    assert not (tmp_path / "run").exists()
    train(debug(tmp_path / "run"))
    before = contents(tmp_path)
    assert "add --resume" in refused(debug(tmp_path / "run"))
    other = debug(tmp_path / "run", resume=True, steps=40, seed=1)
    message = refused(replace(other, optimizer=OptimizerConfig(lr=1e-3, adamw_lr=1e-2, warmup_steps=2)))
    assert "(optimizer.lr, steps, seed)" in message
    assert "resume with --optimizer.lr 0.01 --steps 20 --seed 0" in message
    wider = replace(other, model=replace(other.model, n_hidden=64), steps=20, seed=0, allow_changes=True)
    assert "(model.n_hidden)" in refused(wider)
    learned = replace(wider.model, n_hidden=32, block_size=128, positions="learned")
    assert "(model.block_size, model.positions)" in refused(replace(wider, model=learned))
    assert contents(tmp_path) == before


def test_the_context_may_grow_on_the_way_with_rotary_positions(debug: Debug, tmp_path: Path, metrics: Metrics) -> None:
    train(debug(tmp_path))
    short = debug(tmp_path).model
    longer = debug(tmp_path, model=replace(short, block_size=128), batch_size=4, steps=30, resume=True)
    train(replace(longer, allow_changes=True))
    assert [line[:2] for line in metrics(tmp_path)] == [(10, 5120), (20, 10240), (30, 15360)]
    assert load_checkpoint(tmp_path / "last").info.model.block_size == 128


def test_a_run_goes_on_with_other_settings_if_that_is_meant(
    debug: Debug, tmp_path: Path, refused: Refused, metrics: Metrics
) -> None:
    train(debug(tmp_path))
    more = debug(tmp_path, steps=30, batch_size=4, resume=True)
    assert "(batch_size, steps)" in refused(more)
    train(replace(more, allow_changes=True))
    assert [line[:2] for line in metrics(tmp_path)] == [(10, 5120), (20, 10240), (30, 10240 + 10 * 4 * 64)]
    assert load_checkpoint(tmp_path / "last").info.tokens == 10240 + 10 * 4 * 64
    changes = json.loads((tmp_path / "run.json").read_text())["changes"]
    assert changes == [{"step": 20, "before": {"batch_size": 8, "steps": 20}}]
    train(replace(more))  # the run keeps these settings
    fewer = replace(more, steps=20, allow_changes=True)
    assert "--steps is 20, but" in refused(fewer)


def test_a_run_is_not_resumed_on_other_data(
    data: Path, debug: Debug, tmp_path: Path, refused: Refused, bottles: str
) -> None:
    train(debug(tmp_path / "run"))
    content = json.loads((data / "dataset.json").read_text())
    info = DatasetInfo(**{name: value for name, value in content.items() if name != "format_version"})
    ids = tokenizer_from_dict(info.tokenizer).encode(bottles[::-1])
    write_dataset(tmp_path / "other", info, {"train": [ids[:9000]], "val": [ids[:900]], "test": [ids[:900]]})
    other = debug(tmp_path / "run", data=tmp_path / "other", resume=True)
    assert "was begun on other data" in refused(other)
    assert "was begun on other data" in refused(replace(other, allow_changes=True))


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_damaged_state_is_refused(debug: Debug, tmp_path: Path, refused: Refused, length: int) -> None:
    train(debug(tmp_path))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:length])
    assert "state.safetensors cannot be resumed from" in refused(debug(tmp_path, resume=True))


def test_a_state_of_another_model_is_refused(debug: Debug, tmp_path: Path, refused: Refused) -> None:
    train(debug(tmp_path))
    path = tmp_path / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["optimizer.exp_avg.norm.weight"] = torch.zeros(3)
    save_file(tensors, path, metadata)
    assert "does not hold optimizer.exp_avg.norm.weight of this model" in refused(debug(tmp_path, resume=True))


def test_a_state_with_what_is_no_longer_needed_is_read(debug: Debug, tmp_path: Path, metrics: Metrics) -> None:
    """Older versions saved states with random states and fewer settings."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(trainer, "stop_requested", stopped_after(2))
        train(debug(tmp_path / "parts"))
    path = tmp_path / "parts" / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    for setting in ("tensorboard", "accumulate", "allow_changes", "augment", "sample_tokens", "shard"):
        del facts["config"][setting]
    facts["config"]["precision"] = "auto"
    facts["standing"] = facts.pop("progress")  # its older name
    del facts["standing"]["changes"]
    facts["standing"]["best_val_loss"] = math.inf
    tensors = {**load_file(path), "random.cpu": torch.get_rng_state()}
    save_file(tensors, path, {"facts": json.dumps(facts)})
    train(debug(tmp_path / "parts", resume=True))
    train(debug(tmp_path / "whole"))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
