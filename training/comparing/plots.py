"""A comparison's plots, as PNG and as SVG: validation loss by steps, tokens and seconds; speed-up by target loss.

Matplotlib is imported when something is drawn; the same report gives the same bytes.
"""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from statistics import mean
from textwrap import shorten
from typing import Any

from waveletgpt.common.files import atomic_path
from waveletgpt.common.units import in_unit

STYLE = {
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
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "waveletgpt",
}
HEIGHT, LEFT, BOTTOM, TOP = 3.4, 0.62, 0.45, 0.42
"""Inches: of the picture, unless many names need more, and of its margins."""
AXES, WIDEST = 3.7, 7.0
"""Inches: the axes' width, unless long names beside them would make the picture wider than a page of a paper is."""
LEAD, CHARACTER = 0.55, 0.068
"""Inches from the axes to a name, and how wide its characters are."""
DPI = 200
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind can tell apart; the baseline is black."""
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
LEADER = {"linestyle": "-", "linewidth": 0.5, "alpha": 0.6}
LABEL_INCHES = 0.135
"""Least distance between two names beside the curves."""
EARLY = 0.1
"""Part of a run whose losses may lie above the picture."""

PLOTS = {
    "loss-steps": "Validation loss against steps",
    "loss-tokens": "Validation loss against tokens",
    "loss-seconds": "Validation loss against seconds",
    "speedup": "Speed-up in steps against the loss to reach",
}


def write_plots(report: dict[str, Any], out: Path) -> list[tuple[str, str]]:
    """Write every plot to `out`; returns each one's name and what it shows. ImportError without Matplotlib."""
    matplotlib = import_module("matplotlib")
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        tokens = report["tokens"] / report["steps"] / 1e6
        seconds = report["step_seconds"]
        _save(_losses(report, "training steps", lambda _: 1), out, "loss-steps")
        _save(_losses(report, "training tokens, millions", lambda _: tokens), out, "loss-tokens")
        _save(
            _losses(report, "seconds of training", lambda variant: seconds * variant["step_time"]["ratio"]),
            out,
            "loss-seconds",
        )
        _save(_speedups(report), out, "speedup")
    return list(PLOTS.items())


def remove_plots(out: Path) -> None:
    """Remove the plots of an earlier report."""
    for name in PLOTS:
        for ending in ("png", "svg"):
            (out / f"{name}.{ending}").unlink(missing_ok=True)


def _figure(names: Collection[str]) -> tuple[Any, Any]:
    """A figure, and its axes; what is right of them holds the names."""
    right = LEAD + CHARACTER * max(map(len, names))
    width, height = min(WIDEST, LEFT + AXES + right), max(HEIGHT, BOTTOM + TOP + LABEL_INCHES * len(names))
    figure = import_module("matplotlib.figure").Figure(figsize=(width, height))
    place = (LEFT / width, BOTTOM / height, max(0.3, 1 - (LEFT + right) / width), 1 - (BOTTOM + TOP) / height)
    return figure, figure.add_axes(place)


def _save(figure: Any, out: Path, name: str) -> None:
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with atomic_path(out / f"{name}.{ending}") as partial:
            figure.savefig(partial, format=ending, dpi=DPI, metadata=metadata)


def _look(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Colour and line of a variant's curve."""
    if name == report["baseline"]:
        return {"color": "black", "linestyle": "-", "linewidth": 1.4}
    i = [other for other in report["variants"] if other != report["baseline"]].index(name)
    line = LINES[(i + i // len(COLOURS)) % len(LINES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": line, "linewidth": 1.1}


def _losses(report: dict[str, Any], label: str, scale: Callable[[dict[str, Any]], float]) -> Any:
    """Validation loss by steps times `scale`, mean over seeds and a band from the lowest to the highest."""
    figure, axes = _figure(report["variants"])
    unit, ends, tops, bottoms = report["data"]["unit"], {}, [], []
    for name, variant in report["variants"].items():
        look, runs = _look(report, name), variant["runs"]
        x = [step * scale(variant) for step in runs[0]["steps"]]
        by_step = [
            [in_unit(loss, unit) for loss in losses] for losses in zip(*(run["val_loss"] for run in runs), strict=True)
        ]
        means, low, high = ([of(losses) for losses in by_step] for of in (mean, min, max))
        axes.plot(x, means, **look)
        if len(runs) > 1:
            axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
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


def _speedups(report: dict[str, Any]) -> Any:
    """Speed-up in steps by target loss, falling to the right, with its interval."""
    figure, axes = _figure(report["variants"])
    unit, ends = report["data"]["unit"], {}
    for name, variant in report["variants"].items():
        curve, look = variant["speedup_curve"], _look(report, name)
        if name == report["baseline"] or not curve["target"]:
            continue
        x = [in_unit(target, unit) for target in curve["target"]]
        axes.plot(x, curve["steps"], **look)
        if curve["low"][0] is not None:
            axes.fill_between(x, curve["low"], curve["high"], color=look["color"], alpha=0.15, linewidth=0)
        ends[name] = x[-1], curve["steps"][-1]
    axes.axhline(1, **_look(report, report["baseline"]))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    _plain_ticks(axes.yaxis, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if high < 5 * low else (1, 1.5, 2, 3, 5, 7))
    axes.invert_xaxis()
    axes.set_xlabel(f"validation loss to reach, {unit}")
    axes.set_ylabel(f"steps of {report['baseline']} / steps of the variant")
    _title(figure, report, "band: 95 % bootstrap interval over seeds" if len(report["seeds"]) > 1 else "one seed")
    _name_curves(figure, axes, report, ends)
    return figure


def _title(figure: Any, report: dict[str, Any], shown: str) -> None:
    """What the data are and what is shown, a line each."""
    width, height = figure.get_size_inches()
    source = shorten(report["data"]["source"], int((width - LEFT) / CHARACTER), placeholder=" ...")
    for text, inches, colour in ((source, 0.06, "black"), (shown, 0.2, "0.35")):
        figure.text(LEFT / width, 1 - inches / height, text, va="top", color=colour)


def _plain_ticks(axis: Any, digits: Sequence[float]) -> None:
    """Ticks of a logarithmic axis at these leading digits, written out."""
    ticker = import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=digits))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_locator(ticker.NullLocator())


def _name_curves(figure: Any, axes: Any, report: dict[str, Any], ends: dict[str, tuple[float, float]]) -> None:
    """Write each variant's name right of the axes, as near to its curve's end as the others let it, and lead to it."""
    if not ends:
        return
    height = figure.get_figheight() * axes.get_position().height
    inch = 1 / (figure.get_figwidth() * axes.get_position().width)
    names = sorted(ends, key=lambda name: ends[name][1])
    to_axes = axes.transData + axes.transAxes.inverted()
    at = [tuple(to_axes.transform(ends[name])) for name in names]
    places = spread_out([y for _, y in at], LABEL_INCHES / height)
    for name, (x, y), place in zip(names, at, places, strict=True):
        look = _look(report, name)
        shared = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([x, 1 + 0.08 * inch, 1 + 0.16 * inch], [y, place, place], **{**look, **LEADER}, **shared)
        axes.plot([1 + 0.18 * inch, 1 + 0.45 * inch], [place, place], **look, **shared)
        axes.text(1 + 0.5 * inch, place, name, va="center_baseline", color=look["color"], **shared)


def spread_out(wanted: Sequence[float], distance: float) -> list[float]:
    """Places from 0 to 1, each `distance` from the next at least and near to those `wanted`, which rise.

    Where two want to be nearer, they and whoever they push make a group about the middle of what it wants.
    """
    groups: list[list[float]] = []
    for place in wanted:
        groups.append([place])
        while len(groups) > 1 and _end(groups[-2], distance) > _begin(groups[-1], distance):
            last = groups.pop()
            groups[-1] += last
    return [_begin(group, distance) + i * distance for group in groups for i in range(len(group))]


def _begin(group: list[float], distance: float) -> float:
    """Where the first of a group lies."""
    length = (len(group) - 1) * distance
    return max(0.0, min(mean(group) - length / 2, 1 - length))


def _end(group: list[float], distance: float) -> float:
    """Where the next after a group may lie."""
    return _begin(group, distance) + len(group) * distance
