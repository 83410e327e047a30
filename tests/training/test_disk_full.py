"""A full disk gives one line of error; the files before it are kept, and training can resume from them."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import DiskFullError
from waveletgpt.models import checkpoint
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.runs import run as run_module
from waveletgpt.training.trainer import train

ROOT = Path(__file__).parents[2]
Debug = Callable[..., TrainConfig]
Metrics = Callable[[Path], list[tuple[float, ...]]]


@pytest.mark.slow
def test_a_command_that_may_not_write_more_says_so_in_one_line(
    debug: Debug, data: Path, tmp_path: Path, metrics: Metrics
) -> None:
    """The system limits the size of a file; only the training state is too large for the limit."""
    flags = ["--preset", "debug", "--data", f"{data}", "--device", "cpu", "--threads", "1", "--precision", "float32"]
    flags += ["--no-tensorboard"]
    command = [sys.executable, f"{ROOT / 'training' / 'train_text.py'}", *flags, "--out", f"{tmp_path / 'parts'}"]
    limit = (40_000, resource.RLIM_INFINITY)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "state.safetensors cannot be written (File too large); what was there is kept" in done.stderr
    assert done.stderr.endswith("; make room, then begin again\n")
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["run.json"]
    train(debug(tmp_path / "parts"))
    train(debug(tmp_path / "whole"))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("state.safetensors", 2),
        ("metrics.jsonl", 4),  # the first evaluation writes three: in the run, last/ and best/
        ("model.safetensors", 3),  # in last/
        ("model.safetensors", 4),  # in best/
    ],
)
def test_a_run_goes_on_once_there_is_room(
    debug: Debug, tmp_path: Path, metrics: Metrics, name: str, number: int
) -> None:
    """The disk is full at the second evaluation, when the `number`-th file called `name` is written."""
    train(debug(tmp_path / "whole"))
    parts = tmp_path / "parts"
    written: list[Path] = []

    def write_text(path: Path, text: str, **options: Any) -> Any:
        written.append(path)
        return full() if counted() else real_text(path, text, **options)

    def save_file(tensors: Any, path: Path, metadata: Any) -> Any:
        written.append(path)
        return full() if counted() else real_save(tensors, path, metadata)

    def counted() -> bool:
        return written[-1].name == name and sum(path.name == name for path in written) == number

    real_text, real_save = Path.write_text, checkpoint.save_file
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskFullError) as refusal:
        patch.setattr(Path, "write_text", write_text)
        patch.setattr(checkpoint, "save_file", save_file)
        train(debug(parts))
    saved = 10 if name == "state.safetensors" else 20
    message = str(refusal.value)
    assert "cannot be written (No space left on device); what was there is kept" in message
    assert message.endswith(f"; make room, then add --resume to continue from step {saved}")
    assert not [path for path in parts.rglob("*") if path.name.startswith(".")]
    assert run_module.read_facts(parts / "state.safetensors")["progress"]["step"] == saved
    for kind in ("last", "best"):
        load_checkpoint(parts / kind)
    train(debug(parts, resume=True))
    assert metrics(parts) == metrics(tmp_path / "whole")
    for kind in ("last", "best"):
        weights = [(out / kind / "model.safetensors").read_bytes() for out in (parts, tmp_path / "whole")]
        assert weights[0] == weights[1]


def test_a_sample_without_room_is_left_out(
    debug: Debug, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waveletgpt.training.modalities.text.write_text", full)
    train(debug(tmp_path, sample_tokens=4))
    assert capsys.readouterr().out.count("No samples: ") == 1
    assert load_checkpoint(tmp_path / "last").info.steps == 20
