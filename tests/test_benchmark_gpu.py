"""benchmarks/gpu.sh, tried with tiny models on a CPU, as on a machine that has few packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MISSING = ("gradio", "miditok", "soundfile", "tyro", "symusic", "pretty_midi")
BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.timeout(540)
def test_every_part_runs_and_the_figures_are_beside_their_aims(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    environment = {"PYTHON": sys.executable, "PYTHONPATH": f"{tmp_path}", "OUT": f"{tmp_path / 'out'}"}
    environment |= {"QUICK": "1", "DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        ["bash", "benchmarks/gpu.sh"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, last = ended.stdout.splitlines()
    report = json.loads(last)
    # transformers takes a blocked package for installed, and then cannot import it.
    failed = [line for line in lines if "exit" in line or "no time left" in line]
    assert report["quick"] and not [line for line in failed if not line.startswith("transformers: exit 1")], lines
    assert report["figures"] == {found["figure"]: found["value"] for found in map(json.loads, read(tmp_path / "out"))}
    assert not report["aims"].keys() - report["figures"].keys()
    assert report["figures"]["compiled ids equal to the CPU's, of 600"] == 600
    assert report["figures"]["validation loss, graph less none"] == 0
    assert sum(line.startswith(("met ", "not met ")) for line in lines) == len(report["aims"])
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8 and all(path.stat().st_size < 1 << 20 for path in files)


def read(out: Path) -> list[str]:
    """The lines of figures.jsonl."""
    return (out / "figures.jsonl").read_text().splitlines()


def test_a_part_that_takes_too_long_costs_no_other_its_turn(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\n[ "$2" = layers ] && sleep 60\necho "$2 ran"\n')
    python.chmod(0o755)
    script = (ROOT / "benchmarks" / "gpu.sh").read_text().replace("part layers 160", "part layers 1")
    environment = {"PYTHON": f"{python}", "OUT": f"{tmp_path / 'out'}"}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [
        "training",
        "layers:",
        "decoding",
        "without-graph",
        "transformers",
        "summary",
    ]
    assert "layers: exit 124 after at most 1 s" in ended.stdout
