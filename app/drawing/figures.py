"""Figures of sound and of piano music, with colours for light and dark pages."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from waveletgpt.app.drawing.svg import INK, TEXT, WIDTH, Panel, figure, gradient, image, text, ticks

ACCENT = "#0d9488"  # colour of what a model wrote
PROMPT = "#94a3b8"  # colour of the prompt
LOUDNESS = gradient(((153, 213, 207), (13, 148, 136), (11, 59, 60)), 128)  # colours of notes by velocity
MAGMA = gradient(  # matplotlib's magma (van der Walt and Smith 2015) at nine points
    (
        (0, 0, 4),
        (28, 16, 68),
        (79, 18, 123),
        (129, 37, 129),
        (181, 54, 122),
        (229, 80, 100),
        (251, 135, 97),
        (254, 194, 135),
        (252, 253, 191),
    ),
    64,
)
LEFT = 58  # x of the panels; left of it are the vertical axes' labels
FLOOR_DB = -80.0  # lower end of the spectrogram, relative to its loudest point
COLUMNS = 600  # most of waveform and spectrogram: one is about a pixel wide
ROWS = 128  # most of the spectrogram
BLACK_KEYS = (1, 3, 6, 8, 10)
FEWEST_KEYS = 24  # least height of a piano roll


@dataclass(frozen=True)
class Notes:
    """N notes of a piano, as arrays (N,)."""

    onset: NDArray[np.floating[Any]]
    """Seconds."""
    length: NDArray[np.floating[Any]]
    """Seconds."""
    pitch: NDArray[np.integer[Any]]
    """MIDI numbers; 60 is middle C, C4."""
    velocity: NDArray[np.integer[Any]]
    """1 to 127."""

    @property
    def end(self) -> float:
        """End of the last note in seconds; 0 without notes."""
        return float(np.max(self.onset + self.length, initial=0.0))


def sound_figure(
    waveform: NDArray[np.float32], sample_rate: int, description: str, *, boundary: float = 0.0, total: float = 0.0
) -> str:
    """A waveform above its spectrogram, with one time axis, as SVG.

    Args:
        waveform: (S,) samples in -1..1.
        sample_rate: in Hz.
        description: for screen readers.
        boundary: end of the prompt, in seconds.
        total: length of the finished sound, in seconds.
    """
    seconds = len(waveform) / sample_rate
    time, width = (0.0, max(total, seconds, 1e-3)), WIDTH - LEFT - 14
    wave = Panel(LEFT, 8, width, 132, time, (-1.05, 1.05))
    spectrum = Panel(LEFT, 156, width, 190, time, (0, sample_rate / 2000))
    parts = [_waveform(wave, waveform, sample_rate, boundary)]
    decibels = spectrogram(waveform, sample_rate)
    if decibels.size:
        levels = ((decibels / -FLOOR_DB + 1).clip(0, 1) * (len(MAGMA) - 1)).round().astype(np.uint8)
        parts.append(image(spectrum, seconds, levels[::-1], MAGMA))
    parts += [wave.ticks_up([(-1, "\N{MINUS SIGN}1"), (0, "0"), (1, "1")], "amplitude"), wave.frame()]
    parts += [spectrum.ticks_up(ticks(*spectrum.up, 5), "kHz"), spectrum.frame(), spectrum.ticks_across("seconds")]
    if boundary:
        parts += [wave.mark(boundary), spectrum.mark(boundary)]
    return figure(394, parts, description)


def piano_roll_figure(notes: Notes, description: str, *, boundary: float = 0.0) -> str:
    """A piano roll as SVG: louder notes are darker, rows of black keys and the prompt are shaded.

    Args:
        notes: prompt and continuation.
        description: for screen readers.
        boundary: end of the prompt, in seconds.
    """
    low, high = _key_range(notes.pitch)
    panel = Panel(LEFT, 8, WIDTH - LEFT - 72, 284, (0.0, max(notes.end, boundary, 1.0)), (low - 0.5, high + 0.5))
    row = panel.height / (high - low + 1)
    parts = [
        f'<rect x="{panel.left}" y="{panel.y(key + 0.5):.1f}" width="{panel.width}" height="{row:.1f}" '
        f'fill="{INK}" fill-opacity=".1"/>'
        for key in range(low, high + 1)
        if key % 12 in BLACK_KEYS
    ]
    if boundary:
        width = panel.x(boundary) - panel.left
        parts.append(
            f'<rect x="{panel.left}" y="{panel.top}" width="{width:.1f}" height="{panel.height}" '
            f'fill="{PROMPT}" fill-opacity=".18"/>'
        )
    left, right = panel.x(notes.onset), panel.x(notes.onset + notes.length)
    boxes = zip(left, panel.y(notes.pitch + 0.45), (right - left).clip(1), notes.velocity, strict=True)
    parts += [
        f'<rect class="key" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{0.9 * row:.1f}" fill="{_colour(v)}"/>'
        for x, y, w, v in boxes
    ]
    octaves = [(key, f"C{key // 12 - 1}") for key in range(low, high + 1) if key % 12 == 0]
    parts += [panel.ticks_up(octaves, "pitch"), panel.frame(), panel.ticks_across("seconds"), _velocities(panel)]
    if boundary:
        parts.append(panel.mark(boundary))
    return figure(340, parts, description)


def spectrogram(waveform: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Short-time Fourier transform with windows of 32 ms.

    Args:
        waveform: (S,) samples.
        sample_rate: in Hz.

    Returns:
        (frequencies, columns) decibels relative to the loudest point, lowest frequency first; empty if the waveform
        is shorter than a window.
    """
    window = max(16, round(0.032 * sample_rate))
    if len(waveform) < window:
        return np.zeros((0, 0), np.float32)
    hop = max(window // 8, len(waveform) // COLUMNS)
    spectrum = torch.stft(
        torch.from_numpy(waveform), window, hop, window=torch.hann_window(window), return_complex=True
    )
    power = spectrum.abs().square().numpy()[: window // 2]  # (frequencies, columns)
    together = -(-len(power) // ROWS)  # frequencies per row
    power = np.add.reduceat(power, np.arange(0, len(power), together)) + np.float32(1e-12)
    decibels: NDArray[np.float32] = 10 * np.log10(power / power.max())
    return decibels


def _waveform(panel: Panel, waveform: NDArray[np.float32], sample_rate: int, boundary: float) -> str:
    """The area between the smallest and the largest sample of each column."""
    if not len(waveform):
        return ""
    size = max(1, len(waveform) // COLUMNS)  # samples per column
    starts = np.arange(0, len(waveform), size)
    highest = panel.y(np.maximum.reduceat(waveform, starts))
    lowest = panel.y(np.minimum.reduceat(waveform, starts))
    time = starts / sample_rate
    x, parts = panel.x(time), []
    for inside, colour in ((time < boundary, PROMPT), (time >= boundary, ACCENT)):
        if inside.any():
            across = np.concatenate([x[inside], x[inside][::-1]])
            down = np.concatenate([highest[inside], lowest[inside][::-1]])
            points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
            parts.append(f'<polygon points="{points}" fill="{colour}" stroke="{colour}" stroke-linejoin="bevel"/>')
    return "".join(parts)


def _velocities(panel: Panel) -> str:
    """The colour bar on the right."""
    x, height = panel.right + 12, panel.height / 32
    bar = [
        f'<rect x="{x:g}" y="{panel.bottom - (i + 1) * height:.1f}" width="12" height="{height + 0.5:.1f}" '
        f'fill="{_colour(4 * i + 2)}"/>'
        for i in range(32)
    ]
    marks = [text(x + 16, panel.bottom - v / 127 * (panel.height - 10), str(v), size=TEXT - 2) for v in (0, 64, 127)]
    label = text(x + 58, panel.top + panel.height / 2, "velocity", anchor="middle", size=TEXT + 1, upwards=True)
    return "".join(bar + marks) + label


def _colour(velocity: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*LOUDNESS[min(max(int(velocity), 0), 127)])


def _key_range(pitch: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """The lowest and the highest key to show: at least two octaves, and two keys more than the notes need."""
    low, high = (int(pitch.min()) - 2, int(pitch.max()) + 2) if len(pitch) else (48, 72)
    missing = max(0, FEWEST_KEYS - (high - low))
    return max(0, low - missing // 2), min(127, high + (missing + 1) // 2)
