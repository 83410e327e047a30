"""The progress lines and messages of a training run."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from waveletgpt.training.config import TrainConfig
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


@pytest.mark.slow
def test_no_file_beside_the_scripts_hides_a_package() -> None:
    """Python looks beside a script first, so no file there may have the name of a package that training imports."""
    names = {path.stem for path in (ROOT / "training").glob("*.py")} - {"__init__"}
    code = "import json, sys, torch.distributed, waveletgpt.training.command; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name for name in json.loads(done.stdout) if "." not in name}
    assert not names & {*imported, "tensorboard", "numba", "torchaudio", "miditok", "symusic", "soundfile"}
    assert torch.__name__ in imported
