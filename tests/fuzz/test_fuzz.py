"""A hundredth of `make fuzz`, and that its runner sees what is broken."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

RUN = Path(__file__).with_name("run.py")
KINDS = {"midi": 100, "audio": 50, "checkpoints": 10, "endpoints": 20}


def fuzz(*words: str) -> tuple[int, dict[str, Any], str]:
    """Run the fuzz suite. Returns its status, its last line and what it says about broken cases."""
    command = [sys.executable, str(RUN), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_all_kinds_start_outside_of_pytest() -> None:
    command = [sys.executable, "-c", f"import {', '.join(KINDS)}; print(midi.Kind, endpoints.Kind)"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=RUN.parent)
    assert "endpoints.Kind" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundredth_of_the_damaged_inputs_is_read_or_refused(kind: str) -> None:
    counts = [word for name, count in KINDS.items() for word in (f"--{name}", str(count if name == kind else 0))]
    status, found, said = fuzz(*counts)
    assert status == 0, said
    assert found[kind]["read"] + found[kind]["refused"] == KINDS[kind]
    assert found[kind]["read"] > 0 and found[kind]["refused"] > 0


@pytest.mark.parametrize(
    ("broken", "told"),
    [(1, "not one line"), (2, "shows /"), (3, "ends with status -6"), (4, "MemoryError"), (5, "no answer in 1 s")],
)
def test_what_is_broken_is_named(
    broken: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Any
) -> None:
    monkeypatch.setenv("BROKEN", str(broken))
    monkeypatch.setattr(runner, "PATIENCE", 1.0)
    outcome = runner.run_cases("broken", 0, range(7, 9), tmp_path, lambda _: None)
    assert outcome.counts == {"broken": 2} and list(outcome.broken) == [7, 8]
    assert told in outcome.broken[7][0]


def test_a_case_depends_on_its_kind_its_number_and_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Any
) -> None:
    monkeypatch.setenv("BROKEN", "0")

    def drawn(*case: Any) -> Any:
        return runner.run_cases(*case, tmp_path, lambda _: None).counts

    both, second = drawn("broken", 0, range(7, 9)), drawn("broken", 0, range(8, 9))
    assert len(both) == 2 and second < both
    assert drawn("broken", 1, range(8, 9)) != second


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module run.py."""
    monkeypatch.syspath_prepend(str(RUN.parent))
    import run

    return run


def test_damage_is_varied_and_repeatable(runner: Any) -> None:
    import damage

    data, value = bytes(range(64)), {"a": 1, "b": [2, {"c": "x"}], "d": None}
    found = {damage.damaged(data, Random(n)) for n in range(200)}
    assert len(found) > 150 and damage.damaged(data, Random(5)) == damage.damaged(data, Random(5))
    values = {damage.json_bytes(damage.damaged_value(value, Random(n))) for n in range(200)}
    assert len(values) > 60 and value == {"a": 1, "b": [2, {"c": "x"}], "d": None}
