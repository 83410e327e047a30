"""The report of a comparison, computed from run files that the tests write without training."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.units import in_unit
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.training import compare
from waveletgpt.training.comparing.cells import optimizer, table
from waveletgpt.training.comparing.markdown import markdown
from waveletgpt.training.comparing.plots import PLOTS, spread_out, write_plots
from waveletgpt.training.comparing.report import NoReportError, make_report
from waveletgpt.training.comparing.study import Study
from waveletgpt.training.comparing.trial import Outcome
from waveletgpt.training.comparing.variants import parse_variants
from waveletgpt.training.config import OptimizerConfig, TrainConfig
from waveletgpt.training.data import DatasetInfo

MODEL = GPTConfig(vocab_size=7, block_size=64, n_layer=3, n_head=2, n_embd=16, n_hidden=32, n_levels=6)
SPLITS = {split: {"tokens": 1000, "pieces": 1, "sha256": split} for split in ("train", "val", "test")}
DATA = DatasetInfo("text", {}, 7, "bits per character", "novels | tales", "CC0", splits=SPLITS)
STEPS = range(100, 1001, 100)
LONGER = {"longer": "none"}
FINAL_GAP = {"none": 0.25, "haar": 0.5}
"""How much higher losses are on the whole split than on the windows of the evaluations."""
Losses = Callable[[str, float, int], list[float]]


def losses_of(variant: str, lr: float, seed: int) -> list[float]:
    """Losses on a straight line: haar falls 1.6 times as fast as the baseline, the third variant half as fast."""
    speed = {"none": 1.0, "haar": 1.6, "none:n_layer=2,positions=learned": 0.5}[variant]
    return [3 + 0.1 * seed - 0.001 * speed * (1 + 0.05 * seed * (variant != "none")) * step for step in STEPS]


def study(
    out: Path, variants: tuple[str, ...] = ("none", "haar", "none:n_layer=2,positions=learned"), **changes: Any
) -> Study:
    config = TrainConfig(Path("data"), out, model=MODEL, steps=1000, eval_every=100, threads=1, device="cpu")
    settings = {"seeds": (0, 1, 2), "lrs": (1e-3,), "sweep_seed": 9, "longer": 1, "baseline": "none", **changes}
    rates = dict.fromkeys(variants, settings.pop("lrs"))
    return Study(config, parse_variants(variants, MODEL), lrs=rates, **settings)


def ran(study: Study, losses: Losses = losses_of, **endings: Outcome) -> dict[Any, Outcome]:
    """Write every run that the study needs, with `losses` as evaluations, and return their outcomes.

    `endings` gives the outcome of a variant; it is "complete" by default.
    """
    outcomes: dict[Any, Outcome] = {}
    while todo := [trial for trial in study.needed_trials(outcomes) if trial not in outcomes]:
        for trial in todo:
            outcomes[trial] = endings.get(trial.variant, Outcome("complete"))
            trial.config.out.mkdir(parents=True)
            rows = [
                {
                    "step": step,
                    "tokens": step * 2048,
                    "seconds": step * 0.01,
                    "train_loss": loss + 0.1,
                    "val_loss": loss,
                }
                for step, loss in zip(
                    [trial.times * step for step in STEPS],
                    losses(trial.variant if trial.times == 1 else "longer", trial.lr, trial.seed),
                    strict=True,
                )
            ]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (trial.config.out / "metrics.jsonl").write_text(lines)
            if windows := study.final_windows:
                final = {"windows": windows, "val_loss": rows[-1]["val_loss"] + FINAL_GAP[trial.variant]}
                (trial.config.out / "final.json").write_text(json.dumps(final))
    return outcomes


def report_of(study: Study, outcomes: dict[Any, Outcome], **seconds: list[float]) -> dict[str, Any]:
    found = make_report(study, DATA, outcomes, seconds, command="python training/compare.py", jobs=2)
    again: dict[str, Any] = json.loads(json.dumps(found))
    assert again == found  # the report survives JSON, keys included
    return found


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    ours = study(tmp_path)
    learned = "none:n_layer=2,positions=learned"
    return report_of(ours, ran(ours), none=[0.1, 0.2], haar=[0.11, 0.22], **{learned: [0.05, 0.1]})


def test_a_report_has_what_it_promises(report: dict[str, Any]) -> None:
    assert (report["format_version"], report["baseline"], report["failed"]) == (1, "none", [])
    assert report["data"]["digests"] == {"train": "train", "val": "val", "test": "test"}
    assert (report["data"]["unit"], report["data"]["licence"]) == ("bits per character", "CC0")
    assert report["tokens"] == 1000 * 32 * 64
    assert "mixer" not in report["model"] and "lr" not in report["optimizer"]
    assert {"processor", "torch", "precision", "threads", "jobs"} <= report["hardware"].keys()
    assert report["hardware"]["processor"]
    none, haar, learned = report["variants"].values()
    assert none["difference"] is None
    assert (none["speedup"]["steps"]["value"], none["step_time"]["ratio"]) == (1, 1)
    assert learned["changes"] == {"n_layer": 2, "positions": "learned"}
    assert learned["parameters"] != none["parameters"] == haar["parameters"]
    assert [run["seed"] for run in haar["runs"]] == [0, 1, 2]
    assert haar["runs"][1]["val_loss"] == losses_of("haar", 1e-3, 1)
    assert haar["runs"][1]["seconds"] == 10
    assert haar["step_time"]["ratio"] == pytest.approx(1.1)
    speeds = [1.6, 1.6 * 1.05, 1.6 * 1.1]
    steps, seconds = haar["speedup"]["steps"], haar["speedup"]["seconds"]
    assert steps["value"] == pytest.approx((speeds[0] * speeds[1] * speeds[2]) ** (1 / 3))
    assert (steps["low"], steps["high"], steps["reached"]) == (pytest.approx(1.6), pytest.approx(1.76), 3)
    assert [seconds[key] * 1.1 for key in ("value", "low", "high")] == pytest.approx(
        [steps[k] for k in ("value", "low", "high")]
    )
    by_target = haar["speedup_curve"]
    assert [value * 1.1 for value in by_target["seconds"]] == pytest.approx(by_target["steps"])
    assert learned["speedup"]["steps"]["reached"] == 0
    assert learned["speedup"]["steps"]["value"] < 1
    assert haar["final"]["mean"] == pytest.approx(sum(losses_of("haar", 1e-3, seed)[-1] for seed in range(3)) / 3)
    assert haar["difference"]["mean"] == pytest.approx(haar["final"]["mean"] - none["final"]["mean"])
    assert 0 < haar["difference"]["p"] < 0.01
    # Its steps take 1.1 times as long, so it has done 1000 / 1.1 of them when the baseline ends.
    late = [-0.001 * (speed * 1000 / 1.1 - 1000) for speed in speeds]
    assert haar["difference_in_equal_seconds"]["mean"] == pytest.approx(sum(late) / 3)
    assert none["difference_in_equal_seconds"] is None


def test_without_timed_steps_ratios_are_those_of_the_runs_clocks_and_the_report_says_so(tmp_path: Path) -> None:
    ours = study(tmp_path, ("none", "haar"))
    outcomes = ran(ours)
    for seed in range(3):
        path = ours.trial("haar", 1e-3, seed).config.out / "metrics.jsonl"
        path.write_text(
            re.sub(r'"seconds": ([\d.]+)', lambda found: f'"seconds": {float(found[1]) * 1.5}', path.read_text())
        )
    report = report_of(ours, outcomes)
    assert report["variants"]["haar"]["step_time"]["ratio"] == pytest.approx(1.5)
    assert (report["steps_timed"], report["step_seconds"]) == ("runs", pytest.approx(0.01))
    assert "Step times were taken from the runs" in markdown(report, [])


def test_every_variant_continues_with_its_best_learning_rate(tmp_path: Path) -> None:
    def losses(variant: str, lr: float, seed: int) -> list[float]:
        best = {"none": 3e-3, "haar": 1e-2}[variant]
        return [2 + abs(lr - best) - 0.001 * step for step in STEPS]

    ours = study(tmp_path, ("none", "haar"), lrs=(1e-3, 3e-3, 1e-2))
    outcomes = ran(ours, losses)
    assert len(outcomes) == ours.n_trials == 2 * (3 + 3)
    assert [sum(trial.seed == seed for trial in outcomes) for seed in (9, 0, 1, 2)] == [6, 2, 2, 2]
    assert report_of(ours, outcomes)["sweep_seed"] == 9
    variants = report_of(ours, outcomes)["variants"]
    assert {name: variant["lr"] for name, variant in variants.items()} == {"none": 3e-3, "haar": 1e-2}
    assert variants["none"]["lrs"] == pytest.approx({"0.001": 1.002, "0.003": 1.0, "0.01": 1.007})
    assert {name: variant["lr_at_edge"] for name, variant in variants.items()} == {"none": False, "haar": True}
    text = markdown(report_of(ours, outcomes), [])
    assert "The best learning rate of haar is the lowest or highest that was tried" in text
    assert "none 0.001: 1.0020, 0.003: 1.0000, 0.01: 1.0070" in text


def test_the_baseline_is_trained_longer_and_tells_the_speedup_from_decayed_runs(tmp_path: Path) -> None:
    ends = {"none": 2.0, "longer": 1.8, "haar": 1.9, "learnable": 1.7}

    def losses(variant: str, lr: float, seed: int) -> list[float]:
        return [ends[variant] + 0.01 * seed + 0.001 * (1000 - step) for step in STEPS]

    ours = study(tmp_path, ("none", "haar", "learnable"), longer=2)
    outcomes = ran(ours, losses)
    assert len(outcomes) == ours.n_trials == 3 * 3 + 3
    assert sum(trial.tokens for trial in outcomes) == ours.n_tokens == (9 + 2 * 3) * 1000 * 32 * 64
    report = report_of(ours, outcomes)
    found = {name: variant["decayed_speedup"] for name, variant in report["variants"].items()}
    assert found["none"] is None
    half, whole = found["haar"], found["learnable"]
    assert half["value"] == pytest.approx(2**0.5) and not half["at_least"]  # half of what twice the steps gain
    assert whole["value"] == pytest.approx(2) and whole["at_least"]
    text = markdown(report, [])
    assert "speed-up, decayed" in text and "at least 2.00 [2.00, 2.00]" in text and "| 1.41 [1.41, 1.41] |" in text
    assert "not trained longer" not in text
    for seed in range(3):
        outcomes[ours.trial("none", 1e-3, seed, 2)] = Outcome("failed", "its process died of SIGKILL")
    without = report_of(ours, outcomes)
    assert without["variants"]["haar"]["decayed_speedup"] is None
    assert without["failed"][0]["run"] == "none, lr 0.001, seed 0, 2 times as long"
    alone = study(tmp_path / "alone", ("none", "haar", "learnable"))
    assert "was not trained longer (`--longer 1`)" in markdown(report_of(alone, ran(alone, losses)), [])


def test_final_losses_are_of_the_whole_split_and_curves_of_the_evaluations(tmp_path: Path) -> None:
    def losses(name: str, lr: float, seed: int) -> list[float]:
        return [10 * lr + loss for loss in losses_of(LONGER.get(name, name), lr, seed % 9)]

    reports = {}
    for windows in (0, 15, 10):
        ours = study(tmp_path / f"{windows}", ("none", "haar"), lrs=(1e-3, 1e-2), longer=2, final_windows=windows)
        reports[windows] = report_of(ours, ran(ours, losses))
    old, whole, part = reports.values()
    for report in (whole, part):
        for name, variant in report["variants"].items():
            before = old["variants"][name]
            assert variant["final"]["mean"] == pytest.approx(before["final"]["mean"] + FINAL_GAP[name])
            assert variant["lrs"]["0.001"] == pytest.approx(before["lrs"]["0.001"] + FINAL_GAP[name])
            assert variant["speedup"] == before["speedup"]
            assert variant["difference_in_equal_seconds"] == before["difference_in_equal_seconds"]
            for run, run_before in zip(variant["runs"], before["runs"], strict=True):
                assert run["final_loss"] == pytest.approx(run["val_loss"][-1] + FINAL_GAP[name])
                assert {**run, "final_loss": None} == {**run_before, "final_loss": None}
        gap, gap_before = (one["variants"]["haar"]["difference"]["mean"] for one in (report, old))
        assert gap == pytest.approx(gap_before + 0.25)
        assert report["longer"]["val_loss"]["1"] == pytest.approx(old["longer"]["val_loss"]["1"] + 0.25)
    assert "on the whole validation split, 15 windows. Curves" in markdown(whole, [])
    assert "leave out" not in markdown(whole, [])
    assert "on 10 of the 15 windows of the validation split. Curves" in markdown(part, [])
    assert "Final losses leave out 5 of the 15 windows" in markdown(part, [])
    for name in ("final_windows", "val_windows"):
        del old[name]
    assert "over the seeds, on 64 windows of the validation split. Difference" in markdown(old, [])


def test_the_windows_of_final_losses_are_those_that_a_tenth_of_a_run_allows(tmp_path: Path) -> None:
    config = compare.Config(Path("data"), tmp_path, steps=100, batch_size=10, eval_windows=64)
    assert compare.final_windows(config, 299) == 299
    assert compare.final_windows(config, 1000) == 300  # 10 % of 1,000 windows, at a third of a training step each
    assert compare.final_windows(replace(config, steps=1), 1000) == 64  # not fewer than an evaluation's
    assert compare.final_windows(replace(config, final_windows=7), 1000) == 7


def test_rates_of_another_comparison_are_mentioned(tmp_path: Path) -> None:
    ours = study(tmp_path, rates_from=Path("runs/shorter"))
    report = report_of(ours, ran(ours))
    assert report["rates_from"] == "runs/shorter"
    assert "the one that the comparison in `runs/shorter` chose" in markdown(report, [])
    assert "The learning rate of each variant" not in markdown({**report, "rates_from": None}, [])


def test_a_learning_rate_that_diverges_is_the_worst_and_no_failure(tmp_path: Path) -> None:
    ours = study(tmp_path, ("none", "haar"), lrs=(1e-3, 1e-2))
    outcomes = ran(ours, lambda variant, lr, seed: [loss - lr for loss in losses_of(variant, 1e-3, seed % 9)])
    outcomes[ours.trial("haar", 1e-3, 9)] = Outcome("diverged", "the loss is no longer finite")
    for seed in (1, 2):
        outcomes[ours.trial("haar", 1e-2, seed)] = Outcome("failed", "its process died of SIGKILL")
    assert ours.best_lr("haar", outcomes) == 1e-2
    found = report_of(ours, outcomes)
    assert found["variants"]["haar"]["lrs"]["0.001"] is None
    assert [entry["run"] for entry in found["failed"]] == ["haar, lr 0.01, seed 1", "haar, lr 0.01, seed 2"]
    assert [run["seed"] for run in found["variants"]["haar"]["runs"]] == [0]
    assert found["variants"]["haar"]["difference"]["p"] is None
    assert "Some seeds of haar failed" in markdown(found, [])


def test_a_variant_that_diverges_with_all_rates_has_failed(tmp_path: Path) -> None:
    ours = study(tmp_path, ("none", "haar"), lrs=(1e-3, 1e-2))
    found = report_of(ours, ran(ours, haar=Outcome("diverged", "the loss is no longer finite at step 7")))
    assert list(found["variants"]) == ["none"]
    ((name, why),) = [(entry["run"], entry["why"]) for entry in found["failed"]]
    assert (name, why) == ("haar", "it diverged with every learning rate (0.001, 0.01)")
    with pytest.raises(NoReportError, match=r"without a run of haar.*haar: it diverged with every learning rate"):
        kinds = {"haar": Outcome("diverged", "the loss is no longer finite"), "none": Outcome("complete")}
        report_of(replace(ours, baseline="haar"), {trial: kinds[trial.variant] for trial in ours.all_trials()})


def test_the_markdown_has_the_numbers_of_the_report(report: dict[str, Any]) -> None:
    rows = [line for line in markdown(report, []).splitlines() if re.match(r"\| (none|haar)", line)]
    assert len(rows) == 3
    for row, (name, variant) in zip(rows[1:], list(report["variants"].items())[1:], strict=True):
        text = [cell.strip().replace("\N{MINUS SIGN}", "-") for cell in row.strip("|").split("|")]
        numbers = [[float(n.replace(",", "")) for n in re.findall(r"[-+]?\d[\d,]*\.?\d*", cell)] for cell in text[1:]]
        final, difference, speedup = variant["final"], variant["difference"], variant["speedup"]
        assert text[0] == name
        assert numbers[0] == [variant["parameters"]]
        assert numbers[1] == [variant["lr"]]
        unit = [in_unit(nats, "bits") for nats in (final["mean"], final["sd"])]
        assert numbers[2] == pytest.approx(unit, abs=6e-5)
        unit = [in_unit(difference[key], "bits") for key in ("mean", "low", "high")]
        assert numbers[3] == pytest.approx(unit, abs=6e-5)
        assert numbers[4] == pytest.approx([difference["p_holm"]], rel=0.05)
        timely = variant["difference_in_equal_seconds"]
        assert numbers[5] == pytest.approx([in_unit(timely[key], "bits") for key in ("mean", "low", "high")], abs=6e-5)
        for kind, found in zip(("steps", "seconds"), numbers[6:8], strict=True):
            assert found == pytest.approx([speedup[kind][key] for key in ("value", "low", "high")], abs=6e-3)
        assert numbers[8] == pytest.approx([variant["step_time"][key] for key in ("ratio", "q25", "q75")], abs=6e-4)


def test_the_markdown_says_what_was_compared_on_what_and_what_to_keep_in_mind(report: dict[str, Any]) -> None:
    text = markdown(report, list(PLOTS.items()))
    for part in (
        "python training/compare.py",
        "novels | tales",
        "3 seeds (0, 1, 2)",
        "1,000 steps",
        "PyTorch",
        "rough",
    ):
        assert part in text, part
    assert "2,048,000 tokens in the same order" in text
    assert "Optimizer: Muon for the matrices of the blocks" in text and "learning rate of 0.003" in text
    assert "(0 of 3)" in text  # the slower variant never reached the baseline's loss
    assert re.findall(r"!\[.*\]\((.*)\)", text) == [f"{name}.svg" for name in PLOTS]
    table_rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table_rows}) == 1
    assert table(report).row_count == 3


@pytest.mark.slow
def test_plots_are_valid_and_the_same_every_time(report: dict[str, Any], tmp_path: Path) -> None:
    for folder in ("once", "again"):
        (tmp_path / folder).mkdir()
        assert dict(write_plots(report, tmp_path / folder)) == PLOTS
    files = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert files == sorted(f"{name}.{ending}" for name in PLOTS for ending in ("png", "svg"))
    for name in files:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    for name in PLOTS:
        image = (tmp_path / "once" / f"{name}.png").read_bytes()
        assert image[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", image[16:24])
        assert 3.3 <= width / 200 <= 7.01 and height > 400
        root = ET.parse(tmp_path / "once" / f"{name}.svg").getroot()
        written = {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}
        shown = set(report["variants"]) - ({"none"} if name == "speedup" else set())
        assert shown <= written  # text beside the curves
        assert any("bits per character" in text for text in written)


def test_plots_of_one_seed_and_of_curves_that_share_no_loss(tmp_path: Path) -> None:
    ours = study(tmp_path, ("none", "haar"), seeds=(0,))
    outcomes = ran(ours, lambda variant, _, seed: [(9 if variant == "haar" else 3) - 0.001 * step for step in STEPS])
    found = report_of(ours, outcomes)
    assert found["variants"]["haar"]["speedup_curve"]["target"] == []
    write_plots(found, tmp_path)
    text = markdown(found, [])
    assert "There is one seed" in text and "±" not in text.split("Final loss:")[0]


def test_an_old_report_without_an_optimizer_s_name_says_adamw(report: dict[str, Any]) -> None:
    old = {**report, "optimizer": {"clip": 1.0}}
    assert (optimizer(old), optimizer(report)) == ("AdamW", "Muon")
    assert "Optimizer: AdamW." in markdown(old, [])
    assert "Optimizer: AdamW." in markdown({**report, "optimizer": {"name": "adamw"}}, [])


def test_names_beside_curves_do_not_overlap_and_stay_in_the_picture() -> None:
    assert spread_out([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    for wanted in ([0.0] * 8, [0.99] * 8, [0.1, 0.11, 0.12, 0.2, 0.9, 0.91]):
        places = spread_out(wanted, 0.1)
        assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places))
        assert places[0] >= 0 and places[-1] <= 1 + 1e-9


def test_the_optimizer_of_a_run_differs_in_its_rate_alone(tmp_path: Path) -> None:
    ours = study(tmp_path, ("none",), lrs=(3e-3,))
    assert ours.trial("none", 3e-3, 0).config.optimizer == OptimizerConfig(lr=3e-3)
    assert {trial.config.out.name for trial in ours.all_trials()} == {f"lr-0.003-seed-{seed}" for seed in range(3)}
