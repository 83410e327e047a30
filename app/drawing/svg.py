"""Parts of figures as SVG: scales, ticks, text and images.

A figure is drawn again every second while models write, so drawing must take milliseconds.
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

WIDTH = 600  # of every figure, in user units; a column of the page is about 430 pixels wide
INK = "#7c8594"  # text and axes: readable on a light page and on a dark one
TEXT = 16  # size of tick labels; axis labels are a little larger


@dataclass(frozen=True)
class Panel:
    """A rectangle of a figure, with the data's range along its two axes."""

    left: float
    top: float
    width: float
    height: float
    across: tuple[float, float]
    """Values at the left and the right edge."""
    up: tuple[float, float]
    """Values at the lower and the upper edge."""

    @property
    def right(self) -> float:
        """x of the right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """y of the lower edge."""
        return self.top + self.height

    def x(self, value: Any) -> Any:
        """x in the figure of a value or an array of values."""
        low, high = self.across
        return self.left + (value - low) / (high - low) * self.width

    def y(self, value: Any) -> Any:
        """y in the figure, which points down, of a value or an array of values."""
        low, high = self.up
        return self.bottom - (value - low) / (high - low) * self.height

    def frame(self) -> str:
        """The panel's edges."""
        return (
            f'<rect x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" height="{self.height:g}" '
            f'fill="none" stroke="{INK}" stroke-opacity=".35"/>'
        )

    def mark(self, value: float) -> str:
        """A dashed vertical line at a value."""
        return (
            f'<path class="mark" d="M{self.x(value):.1f} {self.top:g}V{self.bottom:g}" '
            f'stroke="{INK}" stroke-width="1.2" stroke-dasharray="4 3"/>'
        )

    def ticks_across(self, label: str) -> str:
        """Tick labels and axis label below the panel."""
        numbers = "".join(
            text(self.x(value), self.bottom + 19, name, anchor="middle") for value, name in ticks(*self.across, 7)
        )
        middle = self.left + self.width / 2
        return numbers + text(middle, self.bottom + 40, label, anchor="middle", size=TEXT + 1)

    def ticks_up(self, values: Iterable[tuple[float, str]], label: str) -> str:
        """Tick labels and axis label on the left of the panel."""
        names = "".join(text(self.left - 6, self.y(value) + 5, name, anchor="end") for value, name in values)
        return names + text(16, self.top + self.height / 2, label, anchor="middle", size=TEXT + 1, upwards=True)


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """At most `most` values from `low` to `high` and their labels, in steps of 1, 2 or 5 times 10^k."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, f"{i * step:.{decimals}f}") for i in range(first, last + 1)][:most]


def text(x: float, y: float, words: str, *, anchor: str = "start", size: float = TEXT, upwards: bool = False) -> str:
    """Words at a point, turned by 90 degrees if `upwards`."""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upwards else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" fill="{INK}"{turn}>'
        f"{html.escape(words)}</text>"
    )


def figure(height: float, parts: Iterable[str], description: str) -> str:
    """The whole figure; screen readers read `description`."""
    return (
        f'<svg class="figure" role="img" aria-label="{html.escape(description)}" viewBox="0 0 {WIDTH} {height:g}" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="inherit">{"".join(parts)}</svg>'
    )


def gradient(stops: Sequence[tuple[int, int, int]], count: int) -> NDArray[np.uint8]:
    """Colours (count, 3) at equal distances from the first of `stops` to the last."""
    at = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(at, range(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def image(panel: Panel, across: float, pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """Pixels (rows, columns), indices of `palette` (N, 3), over a panel's height from its left edge to `across`."""
    width = panel.x(across) - panel.left
    return (
        f'<image x="{panel.left:g}" y="{panel.top:g}" width="{width:.2f}" height="{panel.height:g}" '
        f'preserveAspectRatio="none" href="{png(pixels, palette)}"/>'
    )


def png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """Pixels (rows, columns), indices of `palette` (N, 3), as the data URI of a PNG."""
    picture, data = Image.fromarray(pixels), io.BytesIO()
    picture.putpalette(palette.tobytes())
    picture.save(data, "PNG", compress_level=4)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
