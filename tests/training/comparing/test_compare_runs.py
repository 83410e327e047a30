"""A comparison starts each run in its own process, stops and resumes it, and reads its outcome from its files."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.files import lock
from waveletgpt.training.comparing.trial import Outcome, Trial, config_from_dict
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.runs.state import read_facts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def command(text: Path) -> list[str]:
    flags = ["--preset", "debug", "--device", "cpu", "--precision", "float32", "--data", f"{text}", "--seeds", "0"]
    flags += [
        "--mixers",
        "none",
        "haar",
        "--steps",
        "200",
        "--eval-every",
        "100",
        "--timing-rounds",
        "0",
        "--jobs",
        "2",
    ]
    return [sys.executable, f"{ROOT / 'training' / 'compare.py'}", *flags, "--out"]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of an uninterrupted comparison."""
    done = subprocess.run([*command, f"{tmp_path_factory.mktemp('whole')}"], capture_output=True, text=True, check=True)
    return learned(json.loads(done.stdout.splitlines()[-1]))


def learned(report: dict[str, Any]) -> dict[str, Any]:
    """The parts of a report that do not depend on measured time."""
    return {
        name: {
            **{key: variant[key] for key in ("lr", "lrs", "parameters", "final", "difference")},
            "runs": [{**run, "seconds": None} for run in variant["runs"]],
            "steps": variant["speedup"]["steps"],
        }
        for name, variant in report["variants"].items()
    }


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_free(directory: Path) -> bool:
    with lock(directory) as got:
        return bool(got)


@pytest.mark.parametrize("launcher", ["python", "terminal"])
def test_ctrl_c_saves_every_run_and_the_same_command_continues(
    command: list[str], whole: dict[str, Any], tmp_path: Path, launcher: str
) -> None:
    """Ctrl-C reaches a command started by a terminal or by a Python program, which kills it 0.25 seconds later."""
    out = tmp_path / "the parts"
    call = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"]
    process = subprocess.Popen(
        [*(call if launcher == "python" else []), *command, f"{out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = [out / "runs" / mixer / "lr-0.01-seed-0" for mixer in ("none", "haar")]
    wait_until(lambda: all((run / "run.json").exists() for run in runs) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    wait_until(lambda: all(is_free(run) for run in runs))  # all processes have ended
    states = [run / "state.safetensors" for run in runs]
    steps = [read_facts(state)["progress"]["step"] for state in states if state.exists()]
    saved = [step for step in steps if 0 < step < 300]  # one run may have ended before the other began
    assert saved
    again = shlex.join([*command, f"{out}"])
    if launcher == "terminal":
        assert (process.returncode, errors) == (130, "error: interrupted\n")
        assert "To continue, give the same command again:" in shown
        again = shown.splitlines()[-1]
    done = subprocess.run(again, shell=True, capture_output=True, text=True, check=True)
    logs = [run.with_name(f"{run.name}.log").read_text() for run in runs]
    assert sum("Resuming from step" in log for log in logs) == len(saved)
    assert learned(json.loads(done.stdout.splitlines()[-1])) == whole


def test_the_process_of_a_run_imports_only_what_training_needs() -> None:
    """A process with few imports starts quickly."""
    blocked = ("scipy", "matplotlib", "gradio", "miditok", "symusic", "tyro")
    lines = [f"import sys; sys.modules.update(dict.fromkeys({blocked}))"]
    lines += [f"import waveletgpt.training.comparing.{module}" for module in ("trial", "step_times")]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_settings_come_back_from_json_as_they_were(text: Path, tmp_path: Path) -> None:
    config = PRESETS["debug"](data=text, out=tmp_path, threads=2)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_run_that_stops_before_its_end_is_not_taken_for_complete(text: Path, tmp_path: Path) -> None:
    config: TrainConfig = PRESETS["debug"](data=text, out=tmp_path / "run")
    run = Trial("none", config)
    config.out.mkdir()
    assert run.outcome() is None
    (config.out / "metrics.jsonl").write_text('{"step": 20, "tokens": 1, "val_loss": 1}\n')
    assert run.outcome() == Outcome("complete")
    (config.out / "state.safetensors").touch()  # the process died after its last evaluation
    assert run.outcome() is None
    assert run.final_outcome(-9) == Outcome("failed", "its process died of SIGKILL")
    run.log.write_text("step 10\nerror: there is no room\n\n")
    assert run.final_outcome(1) == Outcome("failed", "there is no room")


def test_a_failing_trial_tells_its_reason_in_its_log(text: Path, tmp_path: Path) -> None:
    """The trial is a real process, and the trainer refuses its settings."""
    config = PRESETS["debug"](data=tmp_path / "nowhere", out=tmp_path / "run", threads=1)
    process = Trial("none", config).start()
    assert process.wait(timeout=60) == 2
    assert "holds no prepared data" in Trial("none", config).final_outcome(2).reason
