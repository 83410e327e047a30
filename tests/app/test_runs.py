"""Runs as they are being written: what is read, and which of two is ahead."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from written import rows, settings, write_run, write_sample

from waveletgpt.app.commands.options import Runs
from waveletgpt.app.commands.run_table import run as print_runs
from waveletgpt.app.runs import FAIR, Run, baseline_of, default_pair, find_runs, speedup_over, unfair
from waveletgpt.common.errors import InputError
from waveletgpt.training.config import CHANGEABLE

NOW = 1e9


def only(directory: Path) -> Run:
    (run,) = find_runs(directory)
    return run


def age(path: Path, seconds: float) -> None:
    """Let all files of a run be this old at `NOW`."""
    for file in path.rglob("*"):
        os.utime(file, (NOW - seconds, NOW - seconds))


def test_runs_are_found_at_any_depth_the_newest_first(tmp_path: Path) -> None:
    old = write_run(tmp_path / "a" / "b" / "old", "text", "none", [2.0])
    write_run(tmp_path / "new", "audio", "haar", [2.0])
    age(old, 100)
    write_run(tmp_path / ".partial-x" / "hidden", "text", "none", [])
    (tmp_path / "file").write_text("")
    assert [(run.name, run.modality, run.mixer) for run in find_runs(tmp_path)] == [
        ("new", "audio", "haar"),
        ("a/b/old", "text", "none"),
    ]
    assert [run.name for run in find_runs(old)] == ["old"]
    write_run(tmp_path / "later", "music", "none", [])
    assert find_runs(tmp_path)[0].name == "later"
    with pytest.raises(InputError, match="is not a directory; give one that holds runs"):
        find_runs(tmp_path / "nowhere")


def test_a_growing_file_is_read_again_and_a_half_line_is_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", "text", "none", [3.0, 2.5])
    before = only(tmp_path)
    assert before.step == 20 and before.losses() == pytest.approx([3 / 0.693147, 2.5 / 0.693147], rel=1e-5)
    assert only(tmp_path) is before  # nothing changed, so nothing is read
    whole = rows([3.0, 2.5, 2.2])
    for end, step in ((-30, 20), (-1, 30), (len(whole), 30)):  # the second lacks only the end of its line
        (path / "metrics.jsonl").write_text(whole[:end])
        os.utime(path / "metrics.jsonl", (NOW + end, NOW + end))
        assert (only(tmp_path).step, only(tmp_path).problem) == (step, "")


@pytest.mark.parametrize(
    ("text", "step", "problem"),
    [
        ("", 0, ""),
        ("nonsense\n" + rows([3.0]), 0, "line 1 of .*metrics.jsonl is damaged; only what is before it is shown"),
        (rows([3.0]) + "[1, 2]\n", 10, "line 2 of"),
        (rows([3.0]) + '{"step": 20}\n', 10, "line 2 of"),
        (rows([3.0]).replace("3.0}", "NaN}"), 0, "line 1 of"),
        (rows([3.0]) + rows([3.0]), 10, "line 2 of"),  # back in time
        (rows([3.0]) + "[" * 100_000 + "\n", 10, "line 2 of"),
    ],
)
def test_a_damaged_file_gives_one_line(tmp_path: Path, text: str, step: int, problem: str) -> None:
    path = write_run(tmp_path / "run", "text", "none", [3.0])
    (path / "metrics.jsonl").write_text(text)
    run = only(tmp_path)
    assert run.step == step and "\n" not in run.problem
    assert bool(run.problem) == bool(problem)
    assert re.search(problem, run.problem)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"modality": "text", "model": 3}', '{"modality": "video"}'])
def test_settings_that_cannot_be_read_give_one_line(tmp_path: Path, content: str) -> None:
    path = write_run(tmp_path / "run", "text", "none", [3.0])
    (path / "run.json").write_text(content)
    (path / "metrics.jsonl").write_bytes(b"\xff\xfe")
    run = only(tmp_path)
    assert run.problem and "\n" not in run.problem and run.modality == ""
    assert default_pair([]) == (None, None)


def test_an_older_run_is_known_by_its_checkpoint(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", "audio", "haar", [3.0])
    older = {name: value for name, value in settings("audio", "haar").items() if name not in ("modality", "command")}
    (path / "run.json").write_text(json.dumps(older))
    assert (only(tmp_path).modality, only(tmp_path).command) == ("audio", "")
    commands = "".join(f"```sh\npython training/train.py --{name}\n```\n" for name in ("one", "two"))
    (path / "last" / "README.md").write_text(commands)
    os.utime(path / "run.json", (NOW, NOW))
    assert only(tmp_path).command == "python training/train.py --two"
    write_run(tmp_path / "young", "audio", "haar", [])
    (tmp_path / "young" / "run.json").write_text(json.dumps(older))
    assert "does not say of which data it is" in find_runs(tmp_path)[0].problem


@pytest.mark.parametrize(
    ("losses", "seconds", "state"),
    [
        ([3.0] * 4, 1e6, "finished"),
        ([3.0] * 3, 50, "running"),
        ([3.0] * 3, 70, "stopped"),
        ([], 1000, "running"),  # reads its data, perhaps
        ([], 2000, "stopped"),
    ],
)
def test_the_state_follows_from_steps_and_the_last_write(
    tmp_path: Path, losses: list[float], seconds: float, state: str
) -> None:
    age(write_run(tmp_path / "run", "text", "none", losses), seconds)
    assert only(tmp_path).state(NOW) == state


def test_a_slow_run_is_given_more_time_and_one_that_diverged_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", "text", "none", [3.0, 2.9], every=400, steps=4000)  # 200 s apart
    age(path, 500)
    assert only(tmp_path).state(NOW) == "running"
    (path / "diverged.json").write_text("{}")
    assert only(tmp_path).state(NOW) == "diverged"


def test_the_baseline_is_of_the_same_data_and_the_most_alike(tmp_path: Path) -> None:
    haar = write_run(tmp_path / "haar", "text", "haar", [2.5, 2.0, 1.8, 1.7])
    write_run(tmp_path / "other-data", "text", "none", [1.0] * 4, data_digests={"train": "x", "val": "y"})
    write_run(tmp_path / "other-seed", "text", "none", [1.0] * 4, seed=1)
    write_run(tmp_path / "none", "text", "none", [3.0, 2.5, 2.25, 2.0])
    runs = {run.name: run for run in find_runs(tmp_path)}
    found = baseline_of(runs["haar"], [*runs.values()])
    assert found and found.name == "none" and unfair(runs["haar"], found) == {}
    assert baseline_of(found, [*runs.values()]) is None
    assert speedup_over(runs["haar"], found) == 2 == speedup_over(runs["haar"], found, "tokens")
    assert speedup_over(found, runs["haar"]) == 0.5
    assert [run and run.name for run in default_pair([*runs.values()])] == ["none", "haar"]
    assert unfair(runs["haar"], runs["other-seed"]) == {"seed": "0 and 1"}
    assert "data" in unfair(runs["haar"], runs["other-data"])
    assert haar.name == "haar"


def test_what_is_compared_are_settings_that_affect_what_is_learned() -> None:
    assert not CHANGEABLE & FAIR.keys()


def test_samples_are_listed_by_step(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", "text", "none", [3.0, 2.0])
    (path / "samples" / ".partial-abc").mkdir()
    (path / "samples" / "notes.txt").write_text("")
    assert list(only(tmp_path).samples()) == [10, 20]
    write_sample(path, "text", 30)
    assert list(only(tmp_path).samples()) == [10, 20, 30]


def test_the_command_prints_a_table_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "none", "text", "none", [3.0, 2.5, 2.25, 2.0])
    write_run(tmp_path / "haar", "text", "haar", [2.5, 2.0, 1.8], seed=1)
    write_run(tmp_path / "song", "music", "haar", [])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    print_runs(Runs(tmp_path))
    told = capsys.readouterr().out
    lines: dict[str, Any] = {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
    assert lines["none"] == ["none", "none", "40/40", "0.0", "M", "2.885", "2.885", "1,024", "finished"]
    assert lines["haar"] == ["haar", "haar", "30/40", "0.0", "M", "2.597", "2.597", "1,024", "2.00*", "running"]
    assert lines["song"] == ["song", "haar", "0/40", "running"]
    assert "* haar and none also differ in seed (1 and 0)" in told and "broken: " in told
    with pytest.raises(InputError, match="holds no runs"):
        print_runs(Runs(tmp_path / "none" / "last"))
