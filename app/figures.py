"""Figures of sound and of piano music, in colours that read on a light page and on a dark one.

Drawn with matplotlib's objects, never with pyplot, whose global state is no good in threads.
"""

import base64
import html
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK = "#7c8594"  # text and axes
ACCENT = "#0d9488"  # what a model wrote
PROMPT = "#94a3b8"  # what it was given
LOUDNESS = LinearSegmentedColormap.from_list("loudness", ["#99d5cf", "#0d9488", "#0b3b3c"])
WIDTH = 6.0  # inches; on the page a column is about 430 pixels wide
DPI = 150
FLOOR_DB = -80.0  # of the spectrogram, below its loudest point
COLUMNS = 600  # of waveform and spectrogram: about a pixel each
BLACK_KEYS = (1, 3, 6, 8, 10)
FEWEST_KEYS = 24  # that a piano roll shows


@dataclass(frozen=True)
class Notes:
    """Notes of a piano, (N,) each."""

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
        """When the last note ends; 0 without notes."""
        return float(np.max(self.onset + self.length, initial=0.0))


def sound_figure(
    waveform: NDArray[np.float32], sample_rate: int, *, boundary: float = 0.0, total: float = 0.0
) -> Figure:
    """A waveform (S,) above its spectrogram, on one axis of time.

    `boundary` is where the prompt ends and `total` how long the sound will be once it is finished, in seconds.
    """
    figure = Figure(figsize=(WIDTH, 3.9), dpi=DPI, layout="constrained")
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    _draw_waveform(wave, waveform, sample_rate, boundary)
    _draw_spectrogram(spectrum, waveform, sample_rate)
    wave.set_ylabel("amplitude")
    wave.set_yticks([-1, 0, 1])
    spectrum.set_ylabel("kHz")
    spectrum.set_xlabel("seconds")
    spectrum.set_ylim(0, sample_rate / 2000)
    spectrum.set_xlim(0, max(total, len(waveform) / sample_rate, 1e-3))
    for axes in (wave, spectrum):
        _style(axes)
        _mark_boundary(axes, boundary)
    return figure


def piano_roll_figure(notes: Notes, *, boundary: float = 0.0) -> Figure:
    """Pitch against seconds, darker where louder, over the rows of the black keys; the prompt is shaded."""
    figure = Figure(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    low, high = _key_range(notes.pitch)
    for key in range(low, high + 1):
        if key % 12 in BLACK_KEYS:
            axes.axhspan(key - 0.5, key + 0.5, color=INK, alpha=0.10, linewidth=0)
    left, right, pitch = notes.onset, notes.onset + notes.length, notes.pitch.astype(float)
    corners = [(left, pitch - 0.45), (left, pitch + 0.45), (right, pitch + 0.45), (right, pitch - 0.45)]
    boxes = PolyCollection(
        np.stack([np.stack(corner, -1) for corner in corners], 1).tolist(),  # (N, 4, 2)
        array=notes.velocity.astype(float),
        cmap=LOUDNESS,
        clim=(0, 127),
        edgecolors="white",
        linewidths=0.3,
    )
    axes.add_collection(boxes)
    axes.set_xlim(0, max(notes.end, boundary, 1.0))
    axes.set_ylim(low - 0.5, high + 0.5)
    octaves = [key for key in range(low, high + 1) if key % 12 == 0]
    axes.set_yticks(octaves, [f"C{key // 12 - 1}" for key in octaves])
    axes.set_ylabel("pitch")
    axes.set_xlabel("seconds")
    bar = figure.colorbar(boxes, ax=axes, ticks=[0, 64, 127], pad=0.015, fraction=0.04)
    bar.set_label("velocity", color=INK, size=11)
    bar.ax.tick_params(colors=INK, labelsize=10, length=0)
    bar.outline.set_visible(False)
    _style(axes)
    if boundary:
        axes.axvspan(0, boundary, color=PROMPT, alpha=0.18, linewidth=0)
    _mark_boundary(axes, boundary)
    return figure


def as_html(figure: Figure, description: str) -> str:
    """The figure as an image that carries its own data, with `description` for who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="figure" alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _draw_waveform(axes: Axes, waveform: NDArray[np.float32], sample_rate: int, boundary: float) -> None:
    """Fill between the least and the greatest sample of each column."""
    axes.set_ylim(-1.05, 1.05)
    if not len(waveform):
        return
    size = max(1, len(waveform) // COLUMNS)  # samples in a column
    starts = np.arange(0, len(waveform), size)
    lowest, highest = np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)
    time = starts / sample_rate
    for inside, color in ((time < boundary, PROMPT), (time >= boundary, ACCENT)):
        axes.fill_between(time, lowest, highest, where=inside, color=color, linewidth=0.8)


def _draw_spectrogram(axes: Axes, waveform: NDArray[np.float32], sample_rate: int) -> None:
    """Decibels below the loudest point, by a short-time Fourier transform of 32 ms."""
    window = max(16, round(0.032 * sample_rate))
    if len(waveform) < window:
        return
    hop = max(window // 8, len(waveform) // COLUMNS)
    spectrum = torch.stft(
        torch.from_numpy(waveform), window, hop, window=torch.hann_window(window), return_complex=True
    )
    power = spectrum.abs().square().numpy() + 1e-12  # (frequencies, columns)
    decibels = 10 * np.log10(power / power.max())
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        extent=(0, len(waveform) / sample_rate, 0, sample_rate / 2000),
        vmin=FLOOR_DB,
        vmax=0,
        cmap="magma",
        interpolation="bilinear",
    )


def _key_range(pitch: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """The lowest and the highest key to show: two octaves at least, and a little room around the notes."""
    low, high = (int(pitch.min()) - 2, int(pitch.max()) + 2) if len(pitch) else (48, 72)
    missing = max(0, FEWEST_KEYS - (high - low))
    return max(0, low - missing // 2), min(127, high + (missing + 1) // 2)


def _mark_boundary(axes: Axes, boundary: float) -> None:
    if boundary:
        axes.axvline(boundary, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))


def _style(axes: Axes) -> None:
    axes.tick_params(colors=INK, labelsize=10, length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, size=11)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.35)
