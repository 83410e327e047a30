"""The compare command trains runs in parallel, continues them, and survives the failure of single runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import lock
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.training import compare
from waveletgpt.training.comparing.trial import Trial
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.data import Dataset, spread_offsets
from waveletgpt.training.evaluation import evaluate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLAIN = ["--preset", "debug", "--device", "cpu", "--precision", "float32"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def flags(text: Path) -> list[str]:
    seeds = ["--seeds", "3", "4", "--jobs", "2", "--timing-rounds", "2", "--longer", "1"]
    return [*PLAIN, "--data", f"{text}", "--mixers", "none", "haar:n_levels=3", *seeds]


@pytest.fixture(scope="module")
def done(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder and the printed text of a comparison by the real command."""
    out = tmp_path_factory.mktemp("compared") / "of two"
    command = [sys.executable, f"{ROOT / 'training' / 'compare.py'}", *flags, "--out", f"{out}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return out, ended.stdout


@pytest.fixture
def copy(done: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished comparison, which a test may change."""
    return Path(shutil.copytree(done[0], tmp_path / "copy"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(*arguments)` runs compare in this process and returns its exit status, output and errors."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(compare.main)
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return command


def times(out: Path) -> dict[str, int]:
    return {f"{path}": path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}


def test_compare_trains_and_prints_one_json_object_last(done: tuple[Path, str], text: Path) -> None:
    out, shown = done
    report = json.loads(shown.splitlines()[-1])
    assert report == json.loads((out / "report.json").read_text())
    assert "of two" in report["command"] and report["command"].startswith("python ")
    assert (report["steps"], report["tokens"], report["seeds"]) == (20, 20 * 8 * 64, [3, 4])
    assert report["hardware"]["jobs"] == 2
    assert report["steps_timed"] == "interleaved"
    assert list(report["variants"]) == ["none", "haar:n_levels=3"]
    assert report["variants"]["none"]["speedup"]["steps"]["value"] == 1
    for variant, folder in zip(report["variants"].values(), ("none", "haar-n_levels=3"), strict=True):
        for found in variant["runs"]:
            run = out / "runs" / folder / f"lr-0.01-seed-{found['seed']}"
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            assert found["steps"] == [row["step"] for row in rows] == [10, 20]
            assert found["val_loss"] == [row["val_loss"] for row in rows]
            info = load_checkpoint(run / "best").info
            assert (info.model.mixer, info.seed) == (variant["mixer"], found["seed"])
            left = {path.name for path in run.iterdir()}
            assert left == {"best", "final.json", "last", "metrics.jsonl", "run.json"}  # nothing only resuming needs
            assert json.loads((run / "final.json").read_text()) == {"windows": 48, "val_loss": found["final_loss"]}
            assert found["final_loss"] == pytest.approx(loss_of(run / "last", text, windows=48), abs=1e-6)
            assert abs(found["final_loss"] - found["val_loss"][-1]) > 1e-4
    assert (report["eval_windows"], report["final_windows"]) == (8, 48)
    assert report["val_windows"] > 48
    seconds = json.loads((out / "step_times.json").read_text())["seconds"]
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"none": 2, "haar:n_levels=3": 2}
    assert "4 of 4 runs" in shown and "bits per character" in shown
    assert (out / "report.md").read_text().count(".svg)") == len(list(out.glob("*.svg"))) == 4


def loss_of(checkpoint: Path, data: Path, windows: int) -> float:
    model, tokens = load_checkpoint(checkpoint).model, Dataset.open(data).tokens("val")
    return evaluate(model, tokens, spread_offsets(len(tokens), model.config.block_size, windows), batch_size=8)


def test_final_losses_are_measured_once_from_the_weights_of_trained_runs(
    copy: Path, flags: list[str], run: Run
) -> None:
    """Runs that an earlier version trained, or that want other windows, are measured and not trained again."""
    report, before = json.loads((copy / "report.json").read_text()), times(copy)
    finals = sorted((copy / "runs").rglob("final.json"))
    assert len(finals) == 4
    finals[0].unlink()
    status, shown, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors) == (0, "")
    assert json.loads(shown.splitlines()[-1])["variants"] == report["variants"]
    changed = {path for path, time in times(copy).items() if before.get(path) != time}
    assert changed == {f"{finals[0]}"} | {path for path in changed if path.endswith(".log")}
    status, shown, _ = run(*flags, "--out", f"{copy}", "--final-windows", "20")
    again = json.loads(shown.splitlines()[-1])
    assert (status, again["final_windows"]) == (0, 20)
    for name, variant in again["variants"].items():
        for found, first in zip(variant["runs"], report["variants"][name]["runs"], strict=True):
            assert found["val_loss"] == first["val_loss"]
            assert found["final_loss"] != first["final_loss"]
    shutil.rmtree(finals[0].parent / "last")
    status, _, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors.count("\n")) == (1, 1)
    assert "last" in errors


def test_what_is_there_is_not_trained_or_timed_again(
    copy: Path, flags: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, report = times(copy), json.loads((copy / "report.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        status, shown, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors, times(copy)) == (0, "", before)
    again = json.loads(shown.splitlines()[-1])
    assert {**again, "command": None} == {**report, "command": None}
    status, shown, _ = run(*flags, "--out", f"{copy}", "--seeds", "3", "4", "5")
    assert status == 0
    assert before.items() <= times(copy).items()
    more = json.loads(shown.splitlines()[-1])
    assert [run["seed"] for run in more["variants"]["none"]["runs"]] == [3, 4, 5]
    assert more["variants"]["none"]["runs"][:2] == report["variants"]["none"]["runs"]


def test_a_process_that_dies_fails_its_run_alone_and_the_same_command_tries_it_again(
    copy: Path, flags: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, seed in (("none", 4), ("haar-n_levels=3", 3), ("haar-n_levels=3", 4)):
        shutil.rmtree(copy / "runs" / folder / f"lr-0.01-seed-{seed}")
    start = Trial.start

    def dying(self: Trial) -> "subprocess.Popen[bytes]":
        if (self.variant, self.seed) != ("haar:n_levels=3", 3):
            return start(self)
        return subprocess.Popen(
            [sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"], stdin=subprocess.PIPE
        )

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "start", dying)
        status, shown, errors = run(*flags, "--out", f"{copy}")
    assert status == 1
    assert errors.count("\n") == 1
    assert errors.startswith("error: haar:n_levels=3, lr 0.01, seed 3: its process died of SIGKILL; the rest is in")
    report = json.loads(shown.splitlines()[-1])
    assert [run["seed"] for run in report["variants"]["none"]["runs"]] == [3, 4]
    assert [run["seed"] for run in report["variants"]["haar:n_levels=3"]["runs"]] == [4]
    assert [entry["seed"] for entry in report["failed"]] == [3]
    assert "Failed: haar:n_levels=3, lr 0.01, seed 3" in (copy / "report.md").read_text()
    status, shown, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors) == (0, "")
    assert json.loads(shown.splitlines()[-1])["failed"] == []


def test_a_learning_rate_that_diverges_does_not_end_the_comparison(text: Path, tmp_path: Path, run: Run) -> None:
    """Each step multiplies weights by 1 - lr * decay: the lower rate halves them, the higher one overflows."""
    flags = [*PLAIN, "--data", f"{text}", "--out", f"{tmp_path}", "--mixers", "none", "--seeds", "0"]
    flags += ["--optimizer.name", "adamw", "--optimizer.weight-decay", "1e11", "--optimizer.warmup-steps", "0"]
    flags += ["--timing-rounds", "0", "--longer", "1"]
    status, shown, errors = run(*flags, "--lrs", "5e-12", "0.9")
    assert (status, errors) == (0, "")
    variant = json.loads(shown.splitlines()[-1])["variants"]["none"]
    assert (variant["lr"], variant["lrs"]["0.9"]) == (5e-12, None)
    assert [run["seed"] for run in variant["runs"]] == [0]
    assert "diverged: the loss is no longer finite" in shown
    before = times(tmp_path)
    assert run(*flags, "--lrs", "5e-12", "0.9")[0] == 0
    assert times(tmp_path) == before  # it is not tried again
    status, _, errors = run(*flags, "--lrs", "0.9")
    assert (status, errors.count("\n")) == (1, 1)
    assert "no report without a run of none" in errors and "no longer finite" in errors


def test_runs_of_other_settings_or_data_are_refused(copy: Path, flags: list[str], run: Run, text: Path) -> None:
    before = times(copy)
    status, _, errors = run(*flags, "--out", f"{copy}", "--steps", "30")
    assert (status, errors.count("\n")) == (2, 1)
    assert "was begun with other settings (steps); continue with --steps 20, or choose another --out" in errors
    for path in (copy / "runs").rglob("run.json"):
        path.write_text(path.read_text().replace('"train": "', '"train": "0'))
    status, _, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors.count("\n")) == (2, 1)
    assert "was begun on other data than" in errors
    assert times(copy).keys() == before.keys()


def test_rates_can_be_those_that_another_comparison_chose(done: tuple[Path, str], text: Path, tmp_path: Path) -> None:
    other, report = tmp_path / "other", json.loads((done[0] / "report.json").read_text())
    other.mkdir()
    for name, lr in (("none", 0.003), ("haar:n_levels=3", 0.002)):
        report["variants"][name]["lr"] = lr
    (other / "report.json").write_text(json.dumps(report))
    common = {**vars(PRESETS["debug"](data=text, out=tmp_path / "out", device="cpu")), "sample_tokens": 0}
    chosen = {"mixers": ("haar:n_levels=3", "none"), "seeds": (0,), "longer": 1, "rates_from": other}
    config = compare.Config(**common | chosen)
    study, *_ = compare.make_study(config)
    trials = [(trial.variant, trial.lr, trial.seed) for trial in study.needed_trials({})]
    assert trials == [("haar:n_levels=3", 0.002, 0), ("none", 0.003, 0)]
    assert study.rates_from == other
    with pytest.raises(InputError, match="has no learning rate for learnable; it has none, haar:n_levels=3"):
        compare.rates(replace(config, mixers=("none", "learnable")))
    for wrong in ("", "[]", "{", '{"variants": {"none": {}}}'):
        (other / "report.json").write_text(wrong)
        with pytest.raises(InputError, match="json is no report of a comparison"):
            compare.rates(config)


def test_rates_of_another_optimizer_are_refused(done: tuple[Path, str], text: Path, tmp_path: Path) -> None:
    report = json.loads((done[0] / "report.json").read_text())
    del report["optimizer"]["name"]  # reports written before Muon was added have no name
    (tmp_path / "report.json").write_text(json.dumps(report))
    config = compare.Config(data=text, out=tmp_path / "out", mixers=("none",), rates_from=tmp_path)
    with pytest.raises(InputError, match=r"has learning rates of AdamW, and --optimizer\.name chooses Muon"):
        compare.rates(config)
    adamw = replace(config, optimizer=replace(config.optimizer, name="adamw"))
    assert compare.rates(adamw) == {"none": (report["variants"]["none"]["lr"],)}


def test_two_comparisons_cannot_share_a_directory(copy: Path, flags: list[str], run: Run) -> None:
    with lock(copy):
        status, _, errors = run(*flags, "--out", f"{copy}")
    assert (status, errors) == (2, f"error: {copy} is being written by another comparison; stop that first\n")


def test_step_times_are_measured_anew_when_something_that_affects_them_changes(copy: Path, text: Path) -> None:
    config = compare.Config(**{**vars(PRESETS["debug"](data=text, out=copy, device="cpu")), "precision": "float32"})
    config = replace(config, mixers=("none",), sample_tokens=0, tensorboard=False, timing_rounds=2, jobs=2)
    study, *_ = compare.make_study(config)
    models = {name: variant.model(study.config.model) for name, variant in study.variants.items()}
    kept = json.loads((copy / "step_times.json").read_text())["seconds"]["none"]
    measured = trial_step_times(study.config, models)
    assert measured == kept
    assert trial_step_times(replace(study.config, batch_size=4), models) != kept


def trial_step_times(config: TrainConfig, models: dict[str, Any]) -> list[float]:
    from waveletgpt.training.comparing.step_times import step_times

    found: list[float] = step_times(config, models, 2, lambda: False)["none"]
    return found


def test_torchrun_is_refused(flags: list[str], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    status, _, errors = run(*flags, "--out", f"{tmp_path / 'out'}")
    assert (status, errors.count("\n")) == (2, 1)
    assert "run it with python instead of torchrun" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mixers", "haar"], "--mixers must hold none"),
        (["--mixers", "none", "db4"], "--mixers db4: mixer is 'db4'; choose one of none, haar"),
        (["--mixers", "none", "haar:n_levels=10"], "haar:n_levels=10: n_levels is 10"),
        (["--baseline", "shifted"], "--baseline is shifted; it must be one of --mixers: none, haar, learnable"),
        (["--seeds", "1", "1"], "--seeds"),
        (["--seeds", "-1"], "--seeds"),
        (["--seeds"], "--seeds"),
        (["--seeds", "one"], "--seeds"),
        (["--lrs", "1e-3", "0.001"], "--lrs must be different"),
        (["--lrs", "2"], "--lrs must be different numbers above 0 and below 1"),
        (["--rates-from", "nowhere", "--lrs", "1e-3"], "give one of the two"),
        (["--jobs", "-1"], "--jobs is -1"),
        (["--timing-rounds", "-1"], "--timing-rounds is -1"),
        (["--shard"], "--shard"),
        (["--allow-changes"], "--allow-changes"),
        ([], "no prepared data"),
    ],
)
def test_compare_tells_what_is_wrong_in_one_line(flags: list[str], message: str, tmp_path: Path, run: Run) -> None:
    status, _, errors = run("--data", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/out", *flags)
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert list(tmp_path.iterdir()) == []


def test_data_and_models_that_cannot_be_used_are_reported_before_anything_is_trained(
    text: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "file").touch()
    for flags, message in (
        (["--out", f"{tmp_path / 'file'}"], "is a file"),
        (["--out", f"{tmp_path / 'out'}", "--device", "nonsense"], "--device nonsense"),
        (["--out", f"{tmp_path / 'out'}", "--model.block-size", "100000", "--model.n-levels", "3"], "has "),
    ):
        status, _, errors = run(*PLAIN, "--data", f"{text}", *flags)
        assert (status, errors.count("\n")) == (2, 1)
        assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
