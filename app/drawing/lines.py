"""A line chart that keeps its text readable at any width: the SVG is stretched, words and marks are HTML over it.

All positions are per cent of the chart. CSS gives it margins and `.line-0`, `.line-1`, ... their colours.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from waveletgpt.app.drawing.svg import ticks

TICKS = 6
NAMES, LOWEST = 5.5, 97.0
"""Least distance between the names of two lines, and where the lowest name may be."""


@dataclass(frozen=True)
class Line:
    """A line, named at its right end. It may have a band around it, and a paler line beside it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    pale: Sequence[float] = ()


@dataclass(frozen=True)
class Plane:
    """A chart's coordinates."""

    across: tuple[float, float]
    """Values at the left and the right edge."""
    up: tuple[float, float]
    """Values at the lower and the upper edge."""

    def x(self, value: float) -> float:
        """Per cent from the left edge."""
        low, high = self.across
        return 100 * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Per cent from the upper edge."""
        low, high = self.up
        return 100 * (high - value) / (high - low)


def chart(plane: Plane, lines: Sequence[Line], description: str, inside: str) -> str:
    """The chart as HTML.

    Args:
        plane: its coordinates.
        lines: the first is drawn on top.
        description: what screen readers read.
        inside: HTML that lies over the lines.
    """
    rows, columns = ticks(*plane.up, TICKS), ticks(*plane.across, TICKS)
    grid = "".join(f"M0 {plane.y(value):.2f}H100" for value, _ in rows)
    drawn = "".join(_draw(plane, line, i) for i, line in reversed(list(enumerate(lines))))
    numbers = [f'<span class="row" style="top:{plane.y(value):.2f}%">{name}</span>' for value, name in rows]
    numbers += [
        f'<span class="column" style="left:{plane.x(value):.2f}%">{float(name):,g}</span>' for value, name in columns
    ]
    places = spread([plane.y(line.y[-1]) for line in lines])
    names = [
        f'<b class="name line-{i}" style="top:{place:.2f}%">{html.escape(line.name)}</b>'
        for i, (line, place) in enumerate(zip(lines, places, strict=True))
    ]
    return (
        f'<div class="chart"><svg role="img" aria-label="{html.escape(description)}" viewBox="0 0 100 100" '
        f'preserveAspectRatio="none"><path class="grid" d="{grid}"/>{drawn}</svg>'
        f'<div aria-hidden="true">{"".join(numbers + names)}</div>{inside}</div>'
    )


def _draw(plane: Plane, line: Line, i: int) -> str:
    def path(kind: str, *values: Sequence[float], end: str = "") -> str:
        """A path along the first values, and back along the second ones if there are some."""
        ways = [[f"{plane.x(x):.2f} {plane.y(y):.2f}" for x, y in zip(line.x, of, strict=True)] for of in values]
        points = ways[0] + [point for way in ways[1:] for point in reversed(way)]
        return f'<path class="{kind}" d="M{"L".join(points)}{end or "h0" * (len(points) == 1)}"/>'

    band = path("band", line.low, line.high, end="Z") if line.low else ""
    pale = path("pale", line.pale) if line.pale else ""
    return f'<g class="line-{i}">{band}{pale}{path("line", line.y)}</g>'


def spread(wanted: Sequence[float]) -> list[float]:
    """Move the names of lines down, or up at the lower end, until none overlap."""
    places, order = list(wanted), sorted(range(len(wanted)), key=wanted.__getitem__)
    for above, below in pairwise(order):
        places[below] = max(places[below], places[above] + NAMES)
    limit = LOWEST
    for i in reversed(order):
        places[i] = min(places[i], limit)
        limit = places[i] - NAMES
    return places
