"""The progress lines, curves and messages of a training run."""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from waveletgpt.training import trainer
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.runs import tensorboard as curves
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.runs.tensorboard import Curves
from waveletgpt.training.trainer import train

ROOT = Path(__file__).parents[2]
Debug = Callable[..., TrainConfig]


def test_progress_shows_step_loss_unit_and_speed(
    debug: Debug, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(debug(tmp_path))
    shown = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        train_bits, val_bits = row["train_loss"] / math.log(2), row["val_loss"] / math.log(2)
        line = f"step {row['step']:>7,}  train {train_bits:.4f}  validation {val_bits:.4f} bits per character (best)"
        assert line in shown
    assert "20/20" in shown
    assert "tokens/s" in shown


class Writer:
    """Stands in for TensorBoard's SummaryWriter."""

    def __init__(self, directory: str, purge_step: int) -> None:
        self.directory, self.purge_step = directory, purge_step
        self.scalars: list[tuple[str, int]] = []
        written.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert math.isfinite(value)
        self.scalars.append((name, step))

    def flush(self) -> None:
        pass


written: list[Writer] = []


@pytest.mark.parametrize("slow", [False, True])
def test_curves_are_written_where_tensorboard_is_installed(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Curves are also written on a machine that needs 100 seconds for a step."""
    written.clear()
    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setattr(curves, "import_module", lambda _: module)
    if slow:
        clock = itertools.count()
        monkeypatch.setattr("waveletgpt.training.trainer.time.perf_counter", lambda: 100.0 * next(clock))
    looks = iter([False, False])
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(trainer, "stop_requested", lambda: StopAtThird(looks))
        train(debug(tmp_path, steps=30, eval_every=15, tensorboard=True))
    train(debug(tmp_path, steps=30, eval_every=15, resume=True, tensorboard=True))
    first, second = written
    assert first.directory == second.directory == f"{tmp_path / 'tensorboard'}"
    assert (first.purge_step, second.purge_step) == (1, 16)
    names = {"train/bits_per_character", "learning_rate", "tokens_per_second", "validation/bits_per_character"}
    assert {name for name, _ in first.scalars} == {name for name, _ in second.scalars} == names
    steps = [step for writer in written for name, step in writer.scalars if name.startswith("train/")]
    assert steps == [1, 10, 15, 16, 20, 30]
    assert [step for writer in written for name, step in writer.scalars if name.startswith("val")] == [15, 30]


class StopAtThird:
    """A stand-in for `stop_requested` that asks training to stop at the third check."""

    def __init__(self, looks: Any) -> None:
        self.looks = looks

    def __enter__(self) -> Callable[[], bool]:
        return lambda: next(self.looks, True)

    def __exit__(self, *_: object) -> None:
        pass


def test_curves_that_cannot_be_written_do_not_stop_a_run(
    debug: Debug, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Writer):
        def add_scalar(self, name: str, value: float, step: int) -> None:
            raise OSError("the disk is full")

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Full  # type: ignore[attr-defined]
    monkeypatch.setattr(curves, "import_module", lambda _: module)
    assert train(debug(tmp_path, tensorboard=True)).steps == 20
    assert capsys.readouterr().out.count("No more curves for TensorBoard: the disk is full") == 1


def test_resumed_curves_have_each_step_once(tmp_path: Path) -> None:
    """TensorBoard itself reads the curves."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    console = Console(quiet=True)
    first = Curves(tmp_path, 0, console)
    for step in (1, 10, 20, 30):
        first.add(step, {"loss": float(step)})
    first.flush()  # the run was saved at step 10 and killed after step 30
    second = Curves(tmp_path, 10, console)
    for step in (11, 20, 40):
        second.add(step, {"loss": float(-step)})
    second.flush()
    events = accumulator.EventAccumulator(f"{tmp_path}")
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 1.0),
        (10, 10.0),
        (11, -11.0),
        (20, -20.0),
        (40, -40.0),
    ]


@pytest.mark.slow
def test_no_file_beside_the_scripts_hides_a_package() -> None:
    """Python looks beside a script first, so no file there may have the name of a package that training imports."""
    names = {path.stem for path in (ROOT / "training").glob("*.py")} - {"__init__"}
    code = "import json, sys, torch.distributed, waveletgpt.training.command; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name for name in json.loads(done.stdout) if "." not in name}
    assert not names & {*imported, "tensorboard", "numba", "torchaudio", "miditok", "symusic", "soundfile"}
    assert torch.__name__ in imported
