"""Parts of figures: panels of SVG with scales, whose labels are HTML.

The page stretches a panel to the width of its card. Its labels keep their size, so that they stay readable on a
phone. A figure is drawn again every second while models write, so drawing must take milliseconds.
"""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH = 1000  # of every panel, in user units

Labels = Iterable[tuple[float, str]]
"""Values and their labels."""


@dataclass(frozen=True)
class Panel:
    """A rectangle with time from left to right."""

    kind: str
    """Class in the style sheet, which sets the height on the page."""
    seconds: float
    """Time at the right edge; the left edge is 0."""
    up: tuple[float, float]
    """Values at the lower and the upper edge."""
    height: float
    """User units."""

    def x(self, seconds: Any) -> Any:
        """User units from the left edge, of a time or an array of times."""
        return seconds / self.seconds * WIDTH

    def y(self, value: Any) -> Any:
        """User units from the upper edge, of a value or an array of values."""
        low, high = self.up
        return (high - value) / (high - low) * self.height

    def mark(self, seconds: float) -> str:
        """A dashed vertical line at a time."""
        return f'<path class="mark" d="M{self.x(seconds):.1f} 0V{self.height:g}"/>'

    def draw(self, parts: Iterable[str], labels: Labels, inside: Labels = ()) -> str:
        """The panel as HTML.

        Args:
            parts: SVG in user units.
            labels: ticks of the vertical axis, written on its left.
            inside: more of them, written at the right edge.
        """
        svg = f'<svg viewBox="0 0 {WIDTH} {self.height:g}" preserveAspectRatio="none">{"".join(parts)}</svg>'
        return f'<div class="panel {self.kind}">{svg}{self._ticks("up", labels)}{self._ticks("inside", inside)}</div>'

    def _ticks(self, side: str, labels: Labels) -> str:
        return "".join(
            f'<span class="{side}" style="top:{100 * self.y(value) / self.height:.1f}%">{html.escape(name)}</span>'
            for value, name in labels
        )


def figure(panels: Sequence[str], seconds: float, description: str, unit: str = "s") -> str:
    """Panels above one time axis, as HTML.

    The element `.timeline` is as wide as the axis and has its length, `--seconds`, so the transport knows where a
    time is.

    Args:
        panels: what `Panel.draw` returned, from top to bottom.
        seconds: length of the time axis.
        description: for screen readers.
        unit: of the axis, if it has other units than seconds.
    """
    times = ticks(0, seconds, 6)
    names = [name for _, name in times[:-1]] + [f"{times[-1][1]} {unit}"]
    axis = "".join(
        f'<span style="left:{100 * value / seconds:.1f}%">{name}</span>'
        for (value, _), name in zip(times, names, strict=True)
    )
    return (
        f'<div class="figure" role="img" aria-label="{html.escape(description)}">'
        f'<div class="timeline" style="--seconds:{seconds:g}">{"".join(panels)}</div>'
        f'<div class="seconds">{axis}</div></div>'
    )


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """At most `most` values from `low` to `high` and their labels, in steps of 1, 2 or 5 times 10^k."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, f"{i * step:.{decimals}f}") for i in range(first, last + 1)][:most]


def spaced(labels: Labels, least: float) -> list[tuple[float, str]]:
    """The labels from the highest value down, without those nearer than `least` to the one above."""
    kept: list[tuple[float, str]] = []
    for value, name in sorted(labels, reverse=True):
        if not kept or kept[-1][0] - value >= least:
            kept.append((value, name))
    return kept


def gradient(stops: Sequence[tuple[int, int, int]], count: int) -> NDArray[np.uint8]:
    """Colours (count, 3) at equal distances from the first of `stops` to the last."""
    at = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(at, range(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def image(panel: Panel, seconds: float, pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """Pixels (rows, columns), indices of `palette` (N, 3), over a panel's height from its left edge to a time."""
    return (
        f'<image width="{panel.x(seconds):.1f}" height="{panel.height:g}" preserveAspectRatio="none" '
        f'href="{png(pixels, palette)}"/>'
    )


def png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """Pixels (rows, columns), indices of `palette` (N, 3), as the data URI of a PNG."""
    picture, data = Image.fromarray(pixels), io.BytesIO()
    picture.putpalette(palette.tobytes())
    picture.save(data, "PNG", compress_level=4)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
