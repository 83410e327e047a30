"""The plots of a report, as PNG and SVG: validation loss by steps, tokens and seconds; speed-up by target loss.

The same report gives the same bytes.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import mean
from textwrap import shorten
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from waveletgpt.common.files import atomic_path
from waveletgpt.common.units import in_unit

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.color": "0.85",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",  # keep text as text
    "svg.hashsalt": "waveletgpt",
}
HEIGHT, LEFT, BOTTOM, TOP = 3.4, 0.62, 0.45, 0.42
"""Inches: least height of the figure, and its margins."""
AXES, WIDEST = 3.7, 7.0
"""Inches: width of the axes, and greatest width of the figure. With long names the axes are narrower."""
LEAD, CHARACTER = 0.55, 0.068
"""Inches from the axes to a name, and the width of its characters."""
DPI = 200
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette for colour-blind readers. The baseline is black."""
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
LEADER = {"linestyle": "-", "linewidth": 0.5, "alpha": 0.6}
LABEL_INCHES = 0.135
"""Least distance between the names of two curves."""
EARLY = 0.1
"""Fraction of a run, at its start, whose losses may lie above the axes."""

PLOTS = {
    "loss-steps": "Validation loss against steps",
    "loss-tokens": "Validation loss against tokens",
    "loss-seconds": "Validation loss against seconds",
    "speedup": "Speed-up in steps against the loss to reach",
}


def write_plots(report: dict[str, Any], out: Path) -> list[tuple[str, str]]:
    """Write all plots to the directory `out`. Returns the name and caption of each."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        tokens = report["tokens"] / report["steps"] / 1e6
        seconds = report["step_seconds"]
        _save(_plot_losses(report, "training steps", lambda _: 1), out, "loss-steps")
        _save(_plot_losses(report, "training tokens, millions", lambda _: tokens), out, "loss-tokens")
        _save(
            _plot_losses(report, "seconds of training", lambda variant: seconds * variant["step_time"]["ratio"]),
            out,
            "loss-seconds",
        )
        _save(_plot_speedups(report), out, "speedup")
    return list(PLOTS.items())


def _make_figure(names: Collection[str]) -> tuple[Figure, Axes]:
    """A figure and its axes, with room for the names of the curves on the right."""
    right = LEAD + CHARACTER * max(map(len, names))
    width, height = min(WIDEST, LEFT + AXES + right), max(HEIGHT, BOTTOM + TOP + LABEL_INCHES * len(names))
    figure = Figure(figsize=(width, height))
    place = (LEFT / width, BOTTOM / height, max(0.3, 1 - (LEFT + right) / width), 1 - (BOTTOM + TOP) / height)
    return figure, figure.add_axes(place)


def _save(figure: Figure, out: Path, name: str) -> None:
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with atomic_path(out / f"{name}.{ending}") as partial:
            figure.savefig(partial, format=ending, dpi=DPI, metadata=metadata)


def _line_style(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Colour, dashes and width of a variant's curve."""
    if name == report["baseline"]:
        return {"color": "black", "linestyle": "-", "linewidth": 1.4}
    i = [other for other in report["variants"] if other != report["baseline"]].index(name)
    line = LINES[(i + i // len(COLOURS)) % len(LINES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": line, "linewidth": 1.1}


def _plot_losses(report: dict[str, Any], label: str, scale: Callable[[dict[str, Any]], float]) -> Figure:
    """Validation loss by steps times `scale`: mean over the seeds, and a band from the lowest to the highest."""
    figure, axes = _make_figure(report["variants"])
    unit, ends, tops, bottoms = report["data"]["unit"], {}, [], []
    for name, variant in report["variants"].items():
        style, runs = _line_style(report, name), variant["runs"]
        x = [step * scale(variant) for step in runs[0]["steps"]]
        by_step = [
            [in_unit(loss, unit) for loss in losses] for losses in zip(*(run["val_loss"] for run in runs), strict=True)
        ]
        means, low, high = ([of(losses) for losses in by_step] for of in (mean, min, max))
        axes.plot(x, means, **style)
        if len(runs) > 1:
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        ends[name] = x[-1], means[-1]
        tops.append(next(y for step, y in zip(runs[0]["steps"], high, strict=True) if step >= EARLY * report["steps"]))
        bottoms.append(min(low))
    room = 0.04 * (max(tops) - min(bottoms))
    axes.set_ylim(min(bottoms) - room, max(tops) + room)
    axes.axhline(ends[report["baseline"]][1], color="0.5", linewidth=0.6, linestyle=":", zorder=0)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis, (1, 2, 5))
    axes.set_xlabel(f"{label} (log scale)")
    axes.set_ylabel(f"validation loss, {unit}")
    several = max(len(variant["runs"]) for variant in report["variants"].values())
    band = f"mean of {several} seeds; band: lowest to highest" if several > 1 else "one seed"
    _title(figure, report, band)
    _name_curves(figure, axes, report, ends)
    return figure


def _plot_speedups(report: dict[str, Any]) -> Figure:
    """Speed-up in steps by target loss, which falls to the right, with its interval."""
    figure, axes = _make_figure(report["variants"])
    unit, ends = report["data"]["unit"], {}
    for name, variant in report["variants"].items():
        curve, style = variant["speedup_curve"], _line_style(report, name)
        if name == report["baseline"] or not curve["target"]:
            continue
        x = [in_unit(target, unit) for target in curve["target"]]
        axes.plot(x, curve["steps"], **style)
        if curve["low"][0] is not None:
            axes.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)
        ends[name] = x[-1], curve["steps"][-1]
    axes.axhline(1, **_line_style(report, report["baseline"]))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    _plain_ticks(axes.yaxis, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if high < 5 * low else (1, 1.5, 2, 3, 5, 7))
    axes.invert_xaxis()
    axes.set_xlabel(f"validation loss to reach, {unit}")
    axes.set_ylabel(f"steps of {report['baseline']} / steps of the variant")
    _title(figure, report, "band: 95 % bootstrap interval over seeds" if len(report["seeds"]) > 1 else "one seed")
    _name_curves(figure, axes, report, ends)
    return figure


def _title(figure: Figure, report: dict[str, Any], shown: str) -> None:
    """Write two lines above the axes: the data, and what is shown."""
    width, height = figure.get_size_inches()
    source = shorten(report["data"]["source"], int((width - LEFT) / CHARACTER), placeholder=" ...")
    for text, inches, colour in ((source, 0.06, "black"), (shown, 0.2, "0.35")):
        figure.text(LEFT / width, 1 - inches / height, text, va="top", color=colour)


def _plain_ticks(axis: Axis, digits: Sequence[float]) -> None:
    """Put the ticks of a logarithmic axis at these leading digits, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_locator(NullLocator())


def _name_curves(figure: Figure, axes: Axes, report: dict[str, Any], ends: dict[str, tuple[float, float]]) -> None:
    """Write each variant's name right of the axes, near the end of its curve, with a line from one to the other."""
    if not ends:
        return
    height = figure.get_figheight() * axes.get_position().height
    inch = 1 / (figure.get_figwidth() * axes.get_position().width)
    names = sorted(ends, key=lambda name: ends[name][1])
    to_axes = axes.transData + axes.transAxes.inverted()
    at = [tuple(to_axes.transform(ends[name])) for name in names]
    places = spread_out([y for _, y in at], LABEL_INCHES / height)
    for name, (x, y), place in zip(names, at, places, strict=True):
        style = _line_style(report, name)
        shared: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([x, 1 + 0.08 * inch, 1 + 0.16 * inch], [y, place, place], **{**style, **LEADER}, **shared)
        axes.plot([1 + 0.18 * inch, 1 + 0.45 * inch], [place, place], **style, **shared)
        axes.text(1 + 0.5 * inch, place, name, va="center_baseline", color=style["color"], **shared)


def spread_out(wanted: Sequence[float], distance: float) -> list[float]:
    """Move positions apart until neighbours are at least `distance` from each other.

    Positions that are too close form a group, which is centred on the mean of its wanted positions.

    Args:
        wanted: rising positions from 0 to 1.
        distance: least distance.

    Returns:
        Positions from 0 to 1 in the same order.
    """
    groups: list[list[float]] = []
    for position in wanted:
        groups.append([position])
        while len(groups) > 1 and _end(groups[-2], distance) > _begin(groups[-1], distance):
            last = groups.pop()
            groups[-1] += last
    return [_begin(group, distance) + i * distance for group in groups for i in range(len(group))]


def _begin(group: list[float], distance: float) -> float:
    """The position of a group's first member."""
    length = (len(group) - 1) * distance
    return max(0.0, min(mean(group) - length / 2, 1 - length))


def _end(group: list[float], distance: float) -> float:
    """The lowest position that is free after a group."""
    return _begin(group, distance) + len(group) * distance
