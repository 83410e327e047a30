"""Figures of sound and of piano music. Results shown side by side share their axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.app.drawing.heat import heat_band
from waveletgpt.app.drawing.mel import COLUMNS, mel, mel_spectrogram
from waveletgpt.app.drawing.svg import Labels, Panel, figure, gradient, image, spaced

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
RANGE_DB = 70.0  # of the spectrogram's colours
QUIETEST = 1e-6  # power of the brightest colour at least, so that silence is dark
BLACK_KEYS = (1, 3, 6, 8, 10)
FEWEST_KEYS = 24  # least height of a piano roll
LEAST_GAP = 0.09  # between two labels, as a part of the panel's height


@dataclass(frozen=True)
class SoundAxes:
    """Axes of a waveform and its spectrogram."""

    seconds: float
    top: float
    """Highest frequency in Hz."""
    loudest: float
    """Power that the spectrogram's brightest colour stands for; 1 is a sine of amplitude 1."""


@dataclass(frozen=True)
class RollAxes:
    """Axes of a piano roll."""

    seconds: float
    low: int
    """Lowest key, a MIDI number."""
    high: int
    """Highest key, a MIDI number."""


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


def sound_axes(sounds: Sequence[tuple[NDArray[np.float32], int]], seconds: float = 0.0) -> SoundAxes:
    """The axes on which all of some sounds fit.

    Args:
        sounds: samples (S,) and sample rate in Hz of each.
        seconds: least length of the time axis.
    """
    top = max(rate for _, rate in sounds) / 2
    loudest = max(mel_spectrogram(wave, rate, top).max(initial=QUIETEST) for wave, rate in sounds)
    return SoundAxes(max(seconds, 1e-3, *(len(wave) / rate for wave, rate in sounds)), top, float(loudest))


def roll_axes(rolls: Sequence[Notes], seconds: float = 1.0) -> RollAxes:
    """The axes on which all of some notes fit: at least two octaves, and two keys more than the notes need.

    Args:
        rolls: the notes of each roll.
        seconds: least length of the time axis.
    """
    pitch = np.concatenate([notes.pitch for notes in rolls])
    low, high = (int(pitch.min()) - 2, int(pitch.max()) + 2) if len(pitch) else (48, 72)
    missing = max(0, FEWEST_KEYS - (high - low))
    ends = (notes.end for notes in rolls)
    return RollAxes(max(seconds, *ends), max(0, low - missing // 2), min(127, high + (missing + 1) // 2))


def sound_figure(
    waveform: NDArray[np.float32],
    sample_rate: int,
    description: str,
    *,
    boundary: float = 0.0,
    axes: SoundAxes | None = None,
    surprise: Tensor | None = None,
) -> str:
    """A waveform above its mel spectrogram, with one time axis, as HTML.

    Args:
        waveform: (S,) samples in -1..1.
        sample_rate: in Hz.
        description: for screen readers.
        boundary: end of the prompt, in seconds.
        axes: those that it shares with other sounds; its own if None.
        surprise: (N,) nats of the N samples from the boundary on, for a band between the two; None for no band.
    """
    axes = axes or sound_axes([(waveform, sample_rate)])
    wave = Panel("wave", axes.seconds, (-1.05, 1.05), 100)
    spectrum = Panel("spectrum", axes.seconds, (0, mel(axes.top)), 100)
    shape, colours = [_waveform(wave, waveform, sample_rate, boundary)], []
    power = mel_spectrogram(waveform, sample_rate, axes.top)
    if power.size:
        decibels = 10 * np.log10(power / axes.loudest + 1e-12)
        levels = ((decibels / RANGE_DB + 1).clip(0, 1) * (len(MAGMA) - 1)).round().astype(np.uint8)
        colours.append(image(spectrum, len(waveform) / sample_rate, levels[::-1], MAGMA))
    if boundary:
        shape.append(wave.mark(boundary))
        colours.append(spectrum.mark(boundary))
    hertz = [(125 * 2.0**i, f"{125 * 2**i} Hz" if i < 3 else f"{2 ** (i - 3)} kHz") for i in range(10)]
    names = [(440 * 2 ** ((12 * octave + 3) / 12 - 4), f"C{octave}") for octave in range(2, 9)]
    end = boundary + (len(surprise) / sample_rate if surprise is not None else 0.0)
    panels = [
        wave.draw(shape, [(-1, "\N{MINUS SIGN}1"), (0, "0"), (1, "1")]),
        *([] if surprise is None else [heat_band(surprise, boundary, end, axes.seconds)]),
        spectrum.draw(colours, _mel_labels(hertz, axes.top), _mel_labels(names, 0.97 * axes.top)),
    ]
    return figure(panels, axes.seconds, description)


def piano_roll_figure(
    notes: Notes,
    description: str,
    *,
    boundary: float = 0.0,
    axes: RollAxes | None = None,
    marks: Sequence[str] | None = None,
) -> str:
    """A piano roll as HTML: softer notes are paler, rows of black keys and the prompt shaded.

    Args:
        notes: prompt and continuation.
        description: for screen readers.
        boundary: end of the prompt, in seconds.
        axes: those that it shares with other rolls; its own if None.
        marks: the class of each note's rectangle, and further attributes; None if notes are not told apart.
    """
    axes = axes or roll_axes([notes], max(boundary, 1.0))
    keys = range(axes.low, axes.high + 1)
    panel = Panel("roll", axes.seconds, (axes.low - 0.5, axes.high + 0.5), len(keys))  # a row is 1 unit high
    parts = [
        f'<rect class="black" y="{axes.high - key}" width="100%" height="1"/>' for key in keys if key % 12 in BLACK_KEYS
    ]
    left, right = panel.x(notes.onset), panel.x(notes.onset + notes.length)
    marks = marks or ['class="key"'] * len(left)
    boxes = zip(left, axes.high - notes.pitch, (right - left).clip(2), notes.velocity, marks, strict=True)
    parts += [
        f'<rect {mark} x="{x:.1f}" y="{y}.05" width="{w:.1f}" height=".9" '
        f'fill-opacity="{0.25 + 0.75 * min(velocity, 127) / 127:.2f}"/>'
        for x, y, w, velocity, mark in boxes
    ]
    if boundary:
        parts.append(f'<rect class="before" width="{panel.x(boundary):.1f}" height="100%"/>{panel.mark(boundary)}')
    octaves = [(float(key), f"C{key // 12 - 1}") for key in keys if key % 12 == 0]
    return figure([panel.draw(parts, octaves)], axes.seconds, description)


def scalogram_figure(
    values: NDArray[np.float32], names: Sequence[str], span: tuple[float, float], seconds: float, unit: str
) -> str:
    """What levels hold over time as HTML, each row from its own least, dark, to its own most.

    Args:
        values: (levels, K), of level and column of time.
        names: of the levels.
        span: where the columns begin and end on the axis.
        seconds: length of the axis.
        unit: of the axis.
    """
    panel = Panel("scales", seconds, (0, len(values)), len(values))
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    levels = ((values - low) / np.maximum(high - low, 1e-9) * (len(MAGMA) - 1)).round().astype(np.uint8)
    picture = image(panel, span[1] - span[0], levels[::-1], MAGMA)
    rows = [(i + 0.5, name) for i, name in enumerate(names)]
    parts = [f'<g transform="translate({panel.x(span[0]):.1f})">{picture}</g>']
    return figure([panel.draw(parts, rows)], seconds, "What each level holds over time, the slowest on top", unit)


def kernel_figure(kernels: NDArray[np.float32], title: str) -> str:
    """The kernels of one level as HTML: each coordinate's, their mean, and Haar's, which weighs all alike.

    Args:
        kernels: (C, W), column m weighs the input m steps ago.
        title: shown below.
    """
    count, width = kernels.shape
    at = np.unique(np.linspace(0, width - 1, min(width, 64)).astype(int))
    lines = np.concatenate([kernels[:, at], kernels[:, at].mean(axis=0, keepdims=True)]) * width  # Haar's are 1
    low, high = min(0.0, float(lines.min())), max(2.0, float(lines.max()))
    x, y = at / max(1, width - 1) * 100, (high - lines) / (high - low) * 40
    drawn = [
        f'<path class="{"one" if i < count else "mean"}" '
        f'd="M{"L".join(f"{a:.1f} {d:.1f}" for a, d in zip(x, row, strict=True))}"/>'
        for i, row in enumerate(y)
    ]
    haar = (high - 1) / (high - low) * 40
    return (
        f'<figure class="kernel"><svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="'
        f'Kernels of {title}"><path class="haar" d="M0 {haar:.1f}H100"/>{"".join(drawn)}</svg>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _mel_labels(hertz: Labels, top: float) -> Labels:
    """Labels at frequencies up to `top`, as values of a mel axis, none too near to the next."""
    return spaced([(mel(value), name) for value, name in hertz if value <= top], LEAST_GAP * mel(top))


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
    for inside, kind in ((time < boundary, "prompt"), (time >= boundary, "new")):
        if inside.any():
            across = np.concatenate([x[inside], x[inside][::-1]])
            down = np.concatenate([highest[inside], lowest[inside][::-1]])
            points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
            parts.append(f'<polygon class="{kind}" points="{points}"/>')
    return "".join(parts)
