"""A run shared by several processes equals a run of one process. The processes are real and use CPUs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.wavelet import KINDS
from waveletgpt.training import batches, trainer
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.trainer import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # otherwise torchrun prints that it sets it
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SHARED = [
    "copies",
    "copies, accumulated",
    "shards",
    "shards, accumulated",
    "copies, then shards",
    "shards, then copies",
]
Metrics = Callable[[Path], list[tuple[float, ...]]]
Debug = Callable[..., TrainConfig]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def by_two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of several runs, each by two processes under torchrun."""
    out = tmp_path_factory.mktemp("two")
    done = run([*TORCHRUN, f"{Path(__file__).with_name('together.py')}", f"{data}", f"{out}"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step      20") == len(SHARED) + 2  # only the first process prints
    return out


@pytest.fixture
def learnable(debug: Debug, tmp_path: Path) -> TrainConfig:
    settings = debug(tmp_path / "one")
    return replace(settings, model=replace(settings.model, mixer="learnable"))


def test_gradients_are_those_of_one_process(by_two: Path, learnable: TrainConfig) -> None:
    """After one step AdamW's first moments are a tenth of the gradients, and Muon's momenta a twentieth."""
    train(replace(learnable, steps=1))
    one, two = (load_file(out / "state.safetensors") for out in (learnable.out, by_two / "a step"))
    assert one.keys() == two.keys()
    gradients = [name for name in one if name.startswith(("optimizer.exp_avg.", "optimizer.momentum_buffer."))]
    assert len(gradients) == len([name for name in one if name.startswith("model.")])
    for name in gradients:
        assert one[name].abs().max() > 1e-6, name
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_train_as_one(by_two: Path, learnable: TrainConfig, metrics: Metrics, name: str) -> None:
    """Only the rounding of sums differs, also when one process resumes a run of two, or two a run of one."""
    train(learnable)
    one, two = metrics(learnable.out), metrics(by_two / name)
    assert [line[:2] for line in one] == [line[:2] for line in two]
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=5e-4, atol=0)
    state, expected = (load_file(out / "state.safetensors") for out in (by_two / name, learnable.out))
    assert state.keys() == expected.keys()
    for weight, tensor in state.items():
        if weight.startswith("model."):
            torch.testing.assert_close(tensor, expected[weight], rtol=0, atol=1e-2)  # Muon's products are in bfloat16
    assert load_checkpoint(by_two / name / "best").info.model == load_checkpoint(learnable.out / "best").info.model
    assert {path.name for path in (by_two / name).iterdir()} == {path.name for path in learnable.out.iterdir()}


def test_a_shared_run_resumes_bit_for_bit(by_two: Path, metrics: Metrics) -> None:
    """The run has dropout, and each process draws its own."""
    assert metrics(by_two / "dropout, resumed") == metrics(by_two / "dropout")
    whole, parts = (load_file(by_two / name / "state.safetensors") for name in ("dropout", "dropout, resumed"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("kind", ["copies", "shards"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_parameter_that_does_not_learn_is_named_by_all_processes(by_two: Path, kind: str, rank: int) -> None:
    """A missing gradient is refused at the first step, because several processes could not take a second one."""
    refusals = json.loads((by_two / f"refusals-{rank}.json").read_text())
    line = "blocks.1.attention.qkv.weight does not learn: its gradient was {} in every step so far ({})"
    assert refusals[f"{kind}, zero"] == line.format("zero", 10)
    assert refusals[f"{kind}, missing"] == line.format("missing", 1)


@pytest.mark.parametrize("parts", [2, 8])
def test_a_batch_in_parts_is_the_same_step(
    learnable: TrainConfig, tmp_path: Path, metrics: Metrics, parts: int
) -> None:
    train(learnable)
    train(replace(learnable, out=tmp_path / "parts", accumulate=parts))
    torch.testing.assert_close(
        torch.tensor(metrics(tmp_path / "parts")), torch.tensor(metrics(learnable.out)), rtol=1e-4, atol=0
    )
    one, many = (load_file(out / "state.safetensors") for out in (learnable.out, tmp_path / "parts"))
    for name, tensor in one.items():
        if name.startswith("model."):
            torch.testing.assert_close(many[name], tensor, rtol=0, atol=5e-3)  # Muon rounds to bfloat16


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_data_of_a_step_do_not_depend_on_who_reads_them(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int, accumulate: int
) -> None:
    """Each step reads the same windows, whatever the mixer, the number of processes and the number of parts."""
    read: dict[int, list[int]] = {}
    share, windows_at, step_of = Processes.share, batches.windows_at, trainer.lr_fraction
    now = 0

    def noting_step(config: Any, step: int, steps: int) -> float:
        nonlocal now
        now = step
        return step_of(config, step, steps)

    def noting_offsets(tokens: Any, offsets: list[int], block_size: int) -> Any:
        read.setdefault(now, []).extend(offsets)
        return windows_at(tokens, offsets, block_size)

    monkeypatch.setattr(trainer, "lr_fraction", noting_step)
    monkeypatch.setattr(batches, "windows_at", noting_offsets)

    def offsets(name: str, processes: Processes, **changes: Any) -> dict[int, list[int]]:
        read.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Processes, "share", lambda _, rows: share(processes, rows))
            settings = debug(tmp_path / name, steps=3, accumulate=accumulate)
            train(replace(settings, model=replace(settings.model, **changes)))
        return {step: sorted(found) for step, found in read.items()}

    alone = {mixer: offsets(mixer, Processes(), mixer=mixer) for mixer in KINDS}
    assert all(found == alone["none"] for found in alone.values())
    assert {step: len(found) for step, found in alone["none"].items()} == {0: 8, 1: 8, 2: 8}
    assert len({tuple(found) for found in alone["none"].values()}) == 3
    parts = [offsets(f"{rank}", Processes(rank, world)) for rank in range(world)]
    for step, expected in alone["none"].items():
        assert sorted(offset for part in parts for offset in part[step]) == expected


def test_a_batch_that_processes_cannot_share_is_refused(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    class Three(Processes):
        @contextmanager
        def share_errors(self) -> Iterator[None]:
            yield

    @contextmanager
    def three_processes() -> Iterator[Processes]:
        yield Three(rank=1, world=3)

    assert "--shard splits the model among processes" in refused(debug(tmp_path, shard=True))
    monkeypatch.setattr(trainer, "process_group", three_processes)
    assert "3 processes cannot share it evenly" in refused(debug(tmp_path))


FLAGS = ["--preset", "debug", "--device", "cpu", "--threads", "1", "--precision", "float32", "--sample-tokens", "0"]
FLAGS += ["--no-tensorboard"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--stpes", "3"], "--stpes"), (["--batch-size", "7"], "2 processes cannot share it evenly")],
)
def test_two_processes_print_one_error(data: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    """The error is found before the processes are connected, or after."""
    script = f"{ROOT / 'training' / 'train_text.py'}"
    done = run([*TORCHRUN, script, *FLAGS, "--data", f"{data}", "--out", f"{tmp_path / 'run'}", *flags])
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert done.stderr.count("Traceback") == 1  # torchrun prints one itself
    assert 'train_text.py", line' not in done.stderr
    assert not (tmp_path / "run").exists()


def on_two_machines(tmp_path: Path, *flags: str) -> list[subprocess.CompletedProcess[str]]:
    """Run two processes that share no files: each has its own copy of the data and its own --out."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in ("0", "1"):
        place = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "2"}
        env = {**ENVIRONMENT, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
        host = tmp_path / f"host{rank}"
        where = ["--data", f"{host / 'data'}", "--out", f"{host / 'run'}"]
        command = [sys.executable, f"{ROOT / 'training' / 'train_text.py'}", *FLAGS, *where, *flags]
        started.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        )
    outputs = [process.communicate(timeout=120) for process in started]
    return [subprocess.CompletedProcess([], p.returncode, *o) for p, o in zip(started, outputs, strict=True)]


def test_machines_share_no_files(data: Path, tmp_path: Path, debug: Debug, metrics: Metrics) -> None:
    """Only the first process writes; it sends its saved state to the others. All processes show one error."""
    for rank in (0, 1):
        shutil.copytree(data, tmp_path / f"host{rank}" / "data")
    run_path = tmp_path / "host0" / "run"
    first, second = on_two_machines(tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Trained 20 steps" in first.stdout
    assert (second.stdout, second.stderr) == ("", "")
    assert sorted(path.name for path in (tmp_path / "host1").iterdir()) == ["data"]

    train(debug(tmp_path / "one"))
    torch.testing.assert_close(
        torch.tensor(metrics(run_path)), torch.tensor(metrics(tmp_path / "one")), rtol=1e-4, atol=0
    )
    changed = ["--steps", "30", "--resume", "--allow-changes"]
    first, second = on_two_machines(tmp_path, *changed)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert [line[0] for line in metrics(run_path)] == [10, 20, 30]
    assert sorted(path.name for path in (tmp_path / "host1").iterdir()) == ["data"]

    damaged = tmp_path / "host1" / "data" / "train.bin"
    damaged.write_bytes(damaged.read_bytes()[::-1])
    for done in on_two_machines(tmp_path, *changed):
        assert done.returncode == 2
        assert done.stderr.startswith("error: process 1: ") and "train.bin is damaged" in done.stderr
        assert done.stderr.count("\n") == 1
