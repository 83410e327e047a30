"""Curves in TensorBoard, trackio and W&B. The trackers are fakes, so the tests need none of the three."""

import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from waveletgpt.training import trainer
from waveletgpt.training.config import TrainConfig, training_command
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.runs.tracking import TensorBoard, TrackedRun
from waveletgpt.training.trainer import train

Debug = Callable[..., TrainConfig]
Calls = list[tuple[str, dict[str, Any]]]
NAMES = {"train/bits_per_character", "learning_rate", "tokens_per_second", "validation/bits_per_character"}


class Writer:
    """Stands in for TensorBoard's SummaryWriter."""

    def __init__(self, directory: str, purge_step: int) -> None:
        self.directory, self.purge_step, self.open = directory, purge_step, True
        self.scalars: list[tuple[str, int]] = []
        written.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert math.isfinite(value)
        self.scalars.append((name, step))

    def flush(self) -> None:
        assert self.open

    def close(self) -> None:
        self.open = False


written: list[Writer] = []


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Writer]], None]:
    """`writer(kind)` installs a TensorBoard whose writers are of this kind."""

    def install(kind: type[Writer]) -> None:
        module: Any = ModuleType("torch.utils.tensorboard")
        module.SummaryWriter = kind
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
        written.clear()

    return install


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Calls]:
    """`module(name)` installs a fake trackio or wandb and gives the list of the calls that it gets."""

    def install(name: str) -> Calls:
        calls: Calls = []
        fake: Any = ModuleType(name)
        fake.init = lambda **options: calls.append(("init", options))
        fake.log = lambda scalars, step: calls.append(("log", {"step": step, **scalars}))
        fake.finish = lambda: calls.append(("finish", {}))
        fake.Settings = dict
        monkeypatch.setitem(sys.modules, name, fake)
        return calls

    return install


def stop_at_third(patch: pytest.MonkeyPatch) -> None:
    """Ask the trainer to stop at its third check: step 15 of runs that evaluate every 15 steps."""
    looks = iter([False, False])
    patch.setattr(trainer, "stop_requested", lambda: StopRequested(looks))


class StopRequested:
    """A stand-in for `stop_requested`."""

    def __init__(self, looks: Any) -> None:
        self.looks = looks

    def __enter__(self) -> Callable[[], bool]:
        return lambda: next(self.looks, True)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("slow", [False, True])
def test_curves_are_written_where_tensorboard_is_installed(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Callable[[type[Writer]], None], slow: bool
) -> None:
    """Curves are also written on a machine that needs 100 seconds for a step."""
    writer(Writer)
    if slow:
        clock = itertools.count()
        monkeypatch.setattr("waveletgpt.training.trainer.time.perf_counter", lambda: 100.0 * next(clock))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at_third(patch)
        train(debug(tmp_path, steps=30, eval_every=15, tensorboard=True))
    train(debug(tmp_path, steps=30, eval_every=15, resume=True, tensorboard=True))
    first, second = written
    assert first.directory == second.directory == f"{tmp_path / 'tensorboard'}"
    assert (first.purge_step, second.purge_step) == (1, 16)
    assert not first.open and not second.open
    assert {name for name, _ in first.scalars} == {name for name, _ in second.scalars} == NAMES
    steps = [step for writer in written for name, step in writer.scalars if name.startswith("train/")]
    assert steps == [1, 10, 15, 16, 20, 30]
    assert [step for writer in written for name, step in writer.scalars if name.startswith("val")] == [15, 30]


def test_resumed_curves_have_each_step_once(tmp_path: Path) -> None:
    """TensorBoard itself reads the curves."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = TensorBoard(TrackedRun(tmp_path, 0, {}))
    for step in (1, 10, 20, 30):
        first.add(step, {"loss": float(step)})
    first.flush()  # the run was saved at step 10 and killed after step 30
    second = TensorBoard(TrackedRun(tmp_path, 10, {}))
    for step in (11, 20, 40):
        second.add(step, {"loss": float(-step)})
    second.end()
    events = accumulator.EventAccumulator(f"{tmp_path / 'tensorboard'}")
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 1.0),
        (10, 10.0),
        (11, -11.0),
        (20, -20.0),
        (40, -40.0),
    ]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_resumed_run_goes_on_in_the_same_tracked_run(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Callable[[str], Calls], name: str
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    calls = module(name)
    settings = debug(tmp_path / "mine", steps=30, eval_every=15, track=(name,))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at_third(patch)
        train(settings)
    train(replace(settings, resume=True))
    assert [call for call, _ in calls] == [*["init", "log", "log", "log", "log", "finish"] * 2]
    first, second = (options for call, options in calls if call == "init")
    assert first["resume"] == second["resume"] == "allow"
    assert first["project"] == "waveletgpt" and first["config"]["optimizer"]["name"] == "muon"
    key = "id" if name == "wandb" else "name"
    assert first[key] == second[key] and len(first[key]) >= 8
    if name == "wandb":
        assert (first["name"], first["mode"], first["dir"]) == ("mine", "offline", f"{tmp_path / 'mine'}")
    logged = [options for call, options in calls if call == "log"]
    assert [row["step"] for row in logged] == [1, 10, 15, 15, 16, 20, 30, 30]
    assert {scalar for row in logged for scalar in row} == NAMES | {"step"}
    lines = [json.loads(line) for line in (tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()]
    assert [row["validation/bits_per_character"] for row in logged if "validation/bits_per_character" in row] == [
        pytest.approx(line["val_loss"] / math.log(2)) for line in lines
    ]


def test_runs_begun_anew_are_other_tracked_runs(debug: Debug, tmp_path: Path, module: Callable[[str], Calls]) -> None:
    """Also in a folder of the same name."""
    calls = module("wandb")
    for parent in ("a", "b"):
        train(debug(tmp_path / parent / "run", steps=1, track=("wandb",)))
    first, second = (options for call, options in calls if call == "init")
    assert first["name"] == second["name"] and first["id"] != second["id"]


def test_wandb_goes_online_where_its_user_says_so(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Callable[[str], Calls]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    calls = module("wandb")
    train(debug(tmp_path, steps=1, track=("wandb",)))
    assert (calls[0][1]["mode"], calls[0][1]["project"]) == ("online", "mine")


@pytest.mark.parametrize("at", ["init", "log", "finish"])
def test_a_tracker_that_fails_ends_and_the_run_goes_on(
    debug: Debug,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    module: Callable[[str], Calls],
    at: str,
) -> None:
    """The other tracker gets everything."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no\nluck")

    module("wandb")
    whole = module("trackio")
    setattr(sys.modules["wandb"], at, fail)
    assert train(debug(tmp_path, track=("wandb", "trackio"))).steps == 20
    assert capsys.readouterr().out.count("No more curves for wandb: no luck\n") == 1
    assert [call for call, _ in whole] == ["init", *["log"] * 5, "finish"]


def test_a_full_disk_ends_the_curves_and_not_the_run(
    debug: Debug, tmp_path: Path, capsys: pytest.CaptureFixture[str], writer: Callable[[type[Writer]], None]
) -> None:
    class Full(Writer):
        def add_scalar(self, name: str, value: float, step: int) -> None:
            raise OSError("the disk is full")

    writer(Full)
    assert train(debug(tmp_path, tensorboard=True)).steps == 20
    assert capsys.readouterr().out.count("No more curves for tensorboard: the disk is full") == 1


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_before_training(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # makes its import fail
    message = refused(debug(tmp_path / "run", track=(name,)))
    assert message == f"this needs {name}, which is missing; pip install 'waveletgpt[{name}]'"
    assert not (tmp_path / "run").exists()
    assert "choose from trackio and wandb" in refused_settings(debug, tmp_path)


def refused_settings(debug: Debug, out: Path) -> str:
    with pytest.raises(ValueError) as refusal:
        debug(out, track=("mlflow",))
    return str(refusal.value)


def test_without_tensorboard_nothing_is_said(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is on by default, installed or not."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(debug(tmp_path, steps=1, tensorboard=True))
    assert "curves" not in capsys.readouterr().out


def test_only_the_first_process_tracks(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Callable[[str], Calls]
) -> None:
    calls = module("wandb")
    monkeypatch.setattr(Processes, "is_first", False)
    train(debug(tmp_path, tensorboard=True, track=("wandb",)))
    assert calls == [] and [*tmp_path.iterdir()] == []


def test_tracking_may_change_when_a_run_is_resumed(
    debug: Debug, tmp_path: Path, module: Callable[[str], Calls]
) -> None:
    """Runs that were begun before there was a choice are resumed and repeated as before."""
    train(debug(tmp_path, steps=10))
    calls = module("trackio")
    train(debug(tmp_path, steps=20, resume=True, allow_changes=True, track=("trackio",)))
    assert [call for call, _ in calls] == ["init", "log", "log", "log", "finish"]
    old = debug(tmp_path).to_dict()
    del old["track"]
    assert "--no-tensorboard" in training_command(old) and "--track" not in training_command(old)
    assert "--track trackio wandb" in training_command({**old, "track": ["trackio", "wandb"]})
