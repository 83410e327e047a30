"""CONTRIBUTING.md: its example of a mixer works, in a copy of the sources."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from pages import blocks, commands, environment

from waveletgpt.models.filters import controls
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
FUNCTION, LINE = blocks(PAGE, "python")


def test_the_example_is_a_causal_mixer(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(vars(controls))
    exec(FUNCTION, names)
    monkeypatch.setitem(ALL_MIXERS, "pairs", eval(f"{{{LINE}}}", names)["pairs"])
    kernels = ALL_MIXERS["pairs"](8, 3).kernel_matrix()
    assert kernels.shape == (4, 5)
    assert kernels.nonzero()[:, 1].tolist() == [0, 1, 0, 1, 0, 2, 0, 4]
    model = GPT(GPTConfig(vocab_size=7, block_size=16, n_layer=2, n_head=2, n_embd=16, n_levels=4, mixer="pairs"))
    ids = torch.randint(7, (1, 12))
    later = ids.clone()
    later[0, 8] = (ids[0, 8] + 1) % 7
    torch.testing.assert_close(model(ids)[:, :8], model(later)[:, :8])
    assert not torch.equal(model(ids)[:, 8:], model(later)[:, 8:])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_is_tested_trained_and_compared(tmp_path: Path) -> None:
    for folder in ("app", "common", "models", "tests", "tokenizers", "training", "waveletgpt"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    module = tmp_path / "models" / "filters" / "controls.py"
    head, start, lines = module.read_text("utf-8").partition("CONTROLS: dict[str, Builder] = {\n")
    module.write_text(f"{head}{FUNCTION}\n\n{start}{LINE}{lines}", "utf-8")
    for line in commands(PAGE):
        done = subprocess.run(
            line.split(),
            cwd=tmp_path,
            env=environment() | {"PYTHONPATH": os.fspath(tmp_path)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    report = (tmp_path / "runs" / "compare-pairs" / "report.md").read_text("utf-8")
    assert "pairs" in report
