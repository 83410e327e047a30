"""`waveletgpt inspect`."""

import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

from waveletgpt.app.checkpoints import SHIPPED, find_checkpoints
from waveletgpt.app.commands import inspection
from waveletgpt.app.commands.inspection import bars, kernels
from waveletgpt.app.commands.options import Inspect
from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.wavelet import CausalWavelet

SCREEN = 24
"""Lines of a terminal."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.01)


def printed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> str:
    inspection.run(Inspect(checkpoint))
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [entry.name for entry in find_checkpoints(SHIPPED)])
def test_a_shipped_checkpoint_fits_on_a_screen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(SHIPPED / name, capsys)
    info = load_checkpoint(SHIPPED / name).info
    assert len(told.splitlines()) <= SCREEN
    assert told.startswith(f"checkpoint      {name}, digest ")
    assert f"{info.tokens:,} " in told and f"{info.model.n_layer} blocks" in told and "CC" in told
    unit = {"text": "bits per character", "audio": "bits per sample", "music": "nats per event"}[info.modality]
    nats = info.losses["val"] / (1 if unit.startswith("nats") else 0.693147)
    assert f"val {nats:.3f} {unit}" in told
    assert int(re.findall(r"speed here +([\d,]+)", told)[0].replace(",", "")) > 0
    assert ("weight by age" in told) == (info.model.mixer != "none")
    assert info.model.mixer == "none" or f" {2**info.model.n_levels} " in told


def rows(mixers: list[CausalWavelet]) -> list[list[str]]:
    """The cells of the table of kernels."""
    table = kernels(mixers, "tokens")
    assert table is not None
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()[3:] if line.strip()]


def test_kernels_are_drawn_as_they_are() -> None:
    haar = CausalWavelet(8, "haar", levels=[1, 3, 3, 6])
    assert rows([haar]) == [["2", "1", "0.5", "██"], ["8", "2", "3.5", "█" * 8], ["64", "1", "31.5", "█" * 16]]
    learned = CausalWavelet(8, "learnable", levels=[1, 3, 3, 6])
    assert rows([learned]) == rows([haar])  # it begins as Haar's
    with torch.no_grad():
        learned.kernels[2:10] = torch.tensor([0, 0, 0, -1.0, 0, 0, 0, 0])  # of the second coordinate
        learned.kernels[10:18] = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1.0])
    assert rows([learned])[1] == ["8", "2", "5.0", "▁▁▁█▁▁▁█"]
    assert kernels([CausalWavelet(8, "none")], "tokens") is None and kernels([], "tokens") is None


def test_bars_are_relative_to_the_highest() -> None:
    assert bars(torch.tensor([1.0, 0.5, 0.0])) == "█▅▁"
    assert bars(torch.zeros(3)) == "▁▁▁"
    assert len(bars(torch.rand(500))) == 16


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a checkpoint"):
        inspection.run(Inspect(tmp_path))
