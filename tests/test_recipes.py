"""recipes/: every script is sound, and runs as it stands with the debug preset, on CPUs and under a fake Slurm."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ports import unused_port
from safetensors.torch import load_file

from waveletgpt.training import prepare_text
from waveletgpt.training.command import parse
from waveletgpt.training.config import TrainConfig

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]
RECIPES = sorted([*(ROOT / "recipes").glob("*.sh"), *(ROOT / "recipes").glob("*.sbatch")])
SMALL = ["--device", "cpu", "--threads", "1", "--precision", "float32", "--sample-tokens", "0", "--no-tensorboard"]
FEW = ["--steps", "8", "--eval-every", "4", *SMALL]
Recipe = Callable[..., subprocess.Popen[str]]

SLURM = {
    # Runs a copy of the script at once, as a job on this machine.
    "sbatch": """#!/bin/sh
cp "$1" "$FAKE/script" && shift
export SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=node
exec bash "$FAKE/script" "$@"
""",
    "scontrol": """#!/bin/sh
case "$1" in show) echo 127.0.0.1 ;; *) echo "$@" >> "$FAKE/requested" ;; esac
""",
    "srun": """#!/bin/sh
exec "$@"
""",
}


def environment(**changes: str) -> dict[str, str]:
    """This Python's scripts come first on the path, and each process has one thread."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **changes,
    }


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of a-z and spaces."""
    path = tmp_path_factory.mktemp("letters") / "letters.txt"
    path.write_text("the quick brown fox jumps over the lazy dog again and again " * 200)
    return path


@pytest.fixture(scope="module")
def recipe(letters: Path) -> Recipe:
    """`recipe(out, name, *flags, **variables)` starts a recipe on the letters, with the debug preset, into `out`."""

    def start(out: Path, name: str, *flags: str, **variables: str) -> subprocess.Popen[str]:
        places = {"DATA": f"{out / 'data'}", "OUT": f"{out / 'run'}", "SOURCE": f"{letters}"}
        return subprocess.Popen(
            ["sbatch" if name.endswith(".sbatch") else "bash", f"recipes/{name}", *flags],
            cwd=ROOT,
            env=environment(**places | {"PRESET": "debug", "GPUS": "2"} | variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def one_gpu(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one-gpu.sh and its data, by one process."""
    out = tmp_path_factory.mktemp("one")
    assert "Trained 8 steps" in finished(recipe(out, "one-gpu.sh", *FEW))
    return out


@pytest.fixture
def slurm(recipe: Recipe, tmp_path: Path) -> Recipe:
    """`slurm(*flags, **variables)` submits slurm.sbatch to a fake Slurm, which notes what is requested of it."""
    for name, script in SLURM.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)

    def submit(*flags: str, **variables: str) -> subprocess.Popen[str]:
        own = {"FAKE": f"{tmp_path}", "PATH": f"{tmp_path}:{environment()['PATH']}", "PORT": str(unused_port())}
        return recipe(tmp_path, "slurm.sbatch", *flags, **own | variables)

    return submit


def finished(process: subprocess.Popen[str]) -> str:
    """What a recipe printed, once it has ended well."""
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, out + errors
    return out


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_sound_and_says_what_to_expect(path: Path) -> None:
    text = path.read_text()
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    assert all(re.search(rf"^# {head}: ", text, flags=re.MULTILINE) for head in ("Needs", "Time", "Loss"))
    assert f"`{path.name}`" in (ROOT / "recipes" / "README.md").read_text()
    for named in re.findall(r"(?:training|tests|docs|recipes)/[\w./-]*\w", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_gives_flags_that_exist(path: Path) -> None:
    """The words after the training script are read as the command line is."""
    (words,) = re.findall(r"training/train(?:_text)?\.py (.*?)\"\$@\"", path.read_text().replace("\\\n", " "))
    values = {"$PRESET": "paper", "$DATA": "data", "$OUT": "run", "$MIXER": "haar", "$resume": "--resume"}
    flags = [values.get(word.strip('"'), word.strip('"')) for word in words.split()]
    flags = ["haar" if flag == "$mixer" else "run" if flag == "$run" else flag for flag in flags]
    config = parse(TrainConfig, flags, "")
    assert config.model.mixer == "haar" and config.batch_size == 64


def test_the_slurm_job_is_signalled_and_requeued() -> None:
    options = re.findall(r"^#SBATCH (.*)$", (ROOT / "recipes" / "slurm.sbatch").read_text(), flags=re.MULTILINE)
    assert {"--requeue", "--signal=B:TERM@120", "--open-mode=append", "--ntasks-per-node=1"} <= {*options}


@pytest.mark.slow
def test_one_gpu(one_gpu: Path) -> None:
    settings = json.loads((one_gpu / "run" / "run.json").read_text())
    assert (settings["model"]["mixer"], settings["optimizer"]["name"], settings["steps"]) == ("learnable", "adamw", 8)


@pytest.mark.slow
def test_one_machine_learns_what_one_process_learns(recipe: Recipe, one_gpu: Path, tmp_path: Path) -> None:
    finished(recipe(tmp_path, "one-machine.sh", *FEW, DATA=f"{one_gpu / 'data'}"))
    assert losses(tmp_path / "run") == pytest.approx(losses(one_gpu / "run"), rel=1e-4)


@pytest.mark.slow
def test_several_machines_learn_what_one_process_learns(recipe: Recipe, one_gpu: Path, tmp_path: Path) -> None:
    """Two machines with folders of their own; the first one alone writes its run."""
    shared = {"HEAD": "127.0.0.1", "PORT": str(unused_port()), "GPUS": "1"}
    machines = [recipe(tmp_path / node, "several-machines.sh", *FEW, NODE=node, **shared) for node in ("0", "1")]
    first, second = (finished(machine) for machine in machines)
    assert "Trained 8 steps" in first and "Trained" not in second
    assert {path.name for path in (tmp_path / "1").iterdir()} == {"data"}
    assert losses(tmp_path / "0" / "run") == pytest.approx(losses(one_gpu / "run"), rel=1e-4)


@pytest.mark.slow
def test_a_slurm_job_saves_requeues_and_ends_as_if_undisturbed(slurm: Recipe, tmp_path: Path, letters: Path) -> None:
    prepare_text.prepare(prepare_text.Config(source=f"{letters}", out=tmp_path / "data", workers=0))
    flags = ["--steps", "200", "--eval-every", "10", *SMALL]
    job = slurm(*flags)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.jsonl").exists() and job.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    stopped_at = int(re.findall(r"Stopped at step (\d+)", finished(job))[0])
    assert 10 <= stopped_at < 200
    assert (tmp_path / "requested").read_text() == "requeue 7\n"

    shown = finished(slurm(*flags))
    assert f"Resuming from step {stopped_at}" in shown and "Trained 200 steps" in shown
    assert (tmp_path / "requested").read_text() == "requeue 7\n"  # once

    finished(slurm(*flags, OUT=f"{tmp_path / 'whole'}"))
    resumed, whole = (load_file(tmp_path / run / "state.safetensors") for run in ("run", "whole"))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.slow
def test_a_slurm_job_that_fails_is_not_requeued(slurm: Recipe, tmp_path: Path) -> None:
    job = slurm(*FEW)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0 and "no prepared data" in errors
    assert not (tmp_path / "requested").exists()


@pytest.mark.slow
def test_text8_prints_bits_per_character(recipe: Recipe, tmp_path: Path) -> None:
    shown = finished(recipe(tmp_path, "text8.sh", *FEW))
    assert shown.count("Trained 8 steps") == 3
    figures = re.findall(r"^(none|haar|learnable) ([\d.]+)$", shown, flags=re.MULTILINE)
    assert [name for name, _ in figures] == ["none", "haar", "learnable"]
    assert all(1 < float(bits) < math.log2(27) + 0.5 for _, bits in figures)
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["vocab_size"] == 27


def losses(run: Path) -> list[float]:
    """The validation losses of a run."""
    return [json.loads(line)["val_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
