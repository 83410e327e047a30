"""A run killed by SIGKILL at any point resumes to the same bytes as an uninterrupted run."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from waveletgpt.common.files import lock
from waveletgpt.models.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Metrics = Callable[[Path], list[tuple[float, ...]]]
SAME_BYTES = ("last/model.safetensors", "best/model.safetensors", "samples/step-000002.txt", "samples/step-000004.txt")


def is_same_run(run: Path, whole: Path, metrics: Metrics) -> None:
    """Assert that two runs ended with equal results and that no other files are left."""
    names = {f"{path.relative_to(whole)}" for path in whole.rglob("*")}
    assert {f"{path.relative_to(run)}" for path in run.rglob("*")} == names
    for name in names & set(SAME_BYTES):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert metrics(run) == metrics(whole)
    lines = (run / "metrics.jsonl").read_text()
    assert (run / "last" / "metrics.jsonl").read_text() == lines
    assert lines.startswith((run / "best" / "metrics.jsonl").read_text())
    state, expected = load_file(run / "state.safetensors"), load_file(whole / "state.safetensors")
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


@pytest.mark.parametrize("how", ["exchange", "two renames"])
def test_killed_before_any_change_to_a_file(data: Path, tmp_path: Path, metrics: Metrics, how: str) -> None:
    """Kill a run with two evaluations before each change to a file.

    Where directories cannot be swapped, only the changes of the second evaluation are tried.
    """
    first, at_least = {"exchange": (1, 90), "two renames": (60, 40)}[how]
    command = [sys.executable, f"{Path(__file__).with_name('killed.py')}", f"{data}", f"{tmp_path}", how, f"{first}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kills: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(kills) > at_least
    assert [kill["status"] for kill in kills] == [-signal.SIGKILL] * (len(kills) - 1) + [0]
    for kill in kills:
        assert kill["resumed"] == 0, (kill, done.stderr)
        is_same_run(tmp_path / f"{kill['number']}", tmp_path / "whole", metrics)
    # Some kills must hit a half-written state, and some a checkpoint that is being replaced.
    assert any(name.endswith("/state.safetensors") for kill in kills for name in kill["left"])
    away = [kill for kill in kills if "best/config.json" not in kill["left"] and "last/config.json" in kill["left"]]
    assert any(any(name.endswith("old/best") for name in kill["left"]) for kill in away) == (how == "two renames")


def test_a_command_killed_again_and_again(data: Path, tmp_path: Path, metrics: Metrics) -> None:
    """The real command is killed by real signals, at times that differ from run to run."""
    flags = ["--preset", "debug", "--data", f"{data}", "--device", "cpu", "--threads", "1"]
    flags += ["--steps", "120", "--eval-every", "3", "--model.dropout", "0.1", "--no-tensorboard"]
    command = [sys.executable, f"{ROOT / 'training' / 'train_text.py'}", *flags, "--out"]
    subprocess.run([*command, f"{tmp_path / 'whole'}"], capture_output=True, check=True)
    again, run, kills = [*command, f"{tmp_path / 'parts'}"], tmp_path / "parts", 0
    while kills < 4:
        process = subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        before, deadline = count_lines(run), time.monotonic() + 60
        while process.poll() is None and count_lines(run) < before + 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.037 * kills)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        for name in ("last", "best"):  # readable whenever the kill came
            load_checkpoint(run / name)
        kills += 1
        again = [*command, f"{run}", "--resume"]
    subprocess.run(again, capture_output=True, check=True)
    is_same_run(run, tmp_path / "whole", metrics)


def count_lines(run: Path) -> int:
    """The number of evaluations that a run has logged."""
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_run_is_trained_by_one_command_at_a_time(
    debug: Callable[..., Any], tmp_path: Path, refused: Callable[..., str]
) -> None:
    tmp_path.joinpath("run").mkdir()
    with lock(tmp_path / "run") as got:
        assert got
        assert "is being trained by another command" in refused(debug(tmp_path / "run"))
    assert list((tmp_path / "run").iterdir()) == []
