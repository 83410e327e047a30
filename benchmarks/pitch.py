"""Does the audio that checkpoints generate from silence have a pitch? Its periodicity, beside that of filtered noise.

Prints a line a checkpoint, then one JSON object: the periodicity of each sample, 1 for a periodic wave.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command
from waveletgpt.common.files import json_text
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.generation import generate
from waveletgpt.tokenizers.registry import tokenizer_from_dict

WINDOW = 1600  # samples, 0.1 s at 16 kHz
LONGEST_PERIOD = 400  # samples, 40 Hz


@dataclass(frozen=True)
class Config:
    """Periodicity of the audio that checkpoints generate."""

    checkpoints: tuple[Path, ...] = (
        Path("checkpoints/audio-recorded-baseline"),
        Path("checkpoints/audio-recorded-haar"),
    )
    temperature: float = 0.85
    length: int = 4000
    """Samples to generate; the first 800 are left out."""
    samples: int = 4


def periodicity(waveform: Tensor) -> float:
    """Height of the first autocorrelation peak of a waveform (S,), median over windows of 0.1 s at 16 kHz."""
    taper = torch.hann_window(WINDOW)
    expected = autocorrelation(taper)
    peaks = []
    for piece in waveform.unfold(0, WINDOW, WINDOW // 2):
        likeness = (autocorrelation((piece - piece.mean()) * taper) / (expected + 1e-3))[:LONGEST_PERIOD]
        dip = int((likeness < 0).int().argmax())
        peaks.append(float(likeness[dip:].max()) if dip else 0.0)
    return median(peaks)


def autocorrelation(x: Tensor) -> Tensor:
    """Autocorrelation (S,) of x (S,) over its own value at lag 0."""
    spectrum = torch.fft.rfft(x, n=2 * len(x)).abs().square()
    correlation: Tensor = torch.fft.irfft(spectrum)[: len(x)]
    return correlation / (correlation[0] + 1e-9)


def filtered_noise(length: int = 16_000) -> Tensor:
    """White noise averaged over 20 samples: a spectrum as low as a piano's, but no pitch."""
    return torch.randn(length + 19, generator=torch.Generator().manual_seed(0)).unfold(0, 20, 1).mean(-1)


def measure(checkpoint: Path, *, temperature: float, length: int, samples: int) -> list[float]:
    """Periodicity of each sample that a checkpoint generates from silence (seed 0)."""
    loaded = load_checkpoint(checkpoint, modality="audio")
    tokenizer = tokenizer_from_dict(loaded.info.tokenizer)
    steps = generate(loaded.model, tokenizer.start.expand(samples, -1), length, temperature=temperature)
    ids = torch.stack([step.ids for step in steps], dim=1)  # (samples, length)
    return [round(periodicity(tokenizer.decode(row)[800:]), 2) for row in ids]


def main() -> None:
    """Run the benchmark and print its results."""
    config = parse(Config, description=__doc__)
    torch.set_num_threads(1)
    report: dict[str, list[float]] = {"filtered noise": [round(periodicity(filtered_noise()), 2)]}
    for path in config.checkpoints:
        report[path.name] = measure(path, temperature=config.temperature, length=config.length, samples=config.samples)
    for name, values in report.items():
        print(f"{name:16} {' '.join(f'{value:.2f}' for value in values)}")
    print(json_text(report))


if __name__ == "__main__":
    run_command(main)
