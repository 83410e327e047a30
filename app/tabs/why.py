"""The page's last tab: what a wavelet layer is good for, by the reports of `training/compare.py`."""

from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import gradio as gr

from waveletgpt.app.drawing.lines import Line, Plane, chart
from waveletgpt.app.tabs.reports import LINES, Reached, Report, find_reports, page
from waveletgpt.app.web.components import private
from waveletgpt.app.web.markup import escape, no_reports
from waveletgpt.app.web.scripts import script
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.common.units import in_words

SCRIPT = script("why.js")
STOPS = 100
"""Steps of the slider from its first position to its last."""
EARLY = 0.1
"""Fraction of a run, at its start, whose losses may lie above the chart."""
ROOM = 0.1
"""Of the chart's height, below the lines, for their names."""
SIGNIFICANT = 0.05
"""A layer is said to be sooner or later only if the p-value of the final losses is below this."""
ABOUT = {
    "none": "a GPT without an extra layer",
    "haar": "half of the numbers that stand for a token become averages over the last 2, 4, 8, ... tokens",
    "learnable": "the same, with weights that are learned",
    "shift": "half of the numbers come from the token before; the simplest layer to compare with",
}
"""What the layers do, for people."""
UNITS = '<p class="unit">Here losses are in bits or in nats: a bit is one yes/no question, a nat is 1.44 of them.</p>'
EVENT = "note that begins or ends, change of loudness or pause"


def build_why(item: gr.Tab, directory: Path) -> None:
    """Add the contents of the tab to the page that is being built. The long texts come when it is opened.

    Raises:
        InputError: there is no such directory, or a report in it cannot be read.
    """
    reports = find_reports(directory)
    if not reports:
        gr.HTML(no_reports(str(directory)))
        return
    known = list(MODALITIES)
    kinds: dict[str, list[str]] = {}
    for key, report in sorted(reports.items(), key=lambda item: known.index(item[1].modality)):
        kinds.setdefault(report.modality, []).append(key)

    def choices(kind: str) -> list[tuple[str, str]]:
        return [(reports[key].name, key) for key in kinds[kind]]

    @cache
    def show(key: str) -> tuple[str, str, str]:
        """The sentence, the chart and the page of a report."""
        report = reports[key]
        return lead(report), explorer(report), UNITS + page(report.folder / "report.md", report.name)

    def show_kind(kind: str) -> tuple[Any, str, str, str]:
        """The first report of a kind of data."""
        first = kinds[kind][0]
        return gr.Radio(choices(kind), value=first), *show(first)

    def show_linked(selected: gr.EventData) -> Any:
        """The report of a link in the overview."""
        key = selected.value
        if key not in reports:
            return gr.skip()
        kind = reports[key].modality
        return kind, gr.Radio(choices(kind), value=key), *show(key)

    start = next(iter(kinds))
    first = kinds[start][0]
    sentence, drawn, _ = show(first)
    with gr.Column(elem_id="why"):
        lead_view = gr.HTML(sentence)
        kind = gr.Radio(
            [(name.capitalize(), name) for name in kinds], value=start, label="Kind of data", elem_id="why-kind"
        )
        chart_view = gr.HTML(drawn, js_on_load=SCRIPT)
        with gr.Accordion("Other measurements", open=False):
            chosen = gr.Radio(choices(start), value=first, label="Measurement", elem_id="why-report")
        with gr.Accordion("The full report of this measurement", open=False):
            report_view = gr.HTML()
        if (overview := directory / "README.md").is_file():
            with gr.Accordion("All measurements", open=True):
                links = gr.HTML(js_on_load=SCRIPT)
    views = [lead_view, chart_view, report_view]
    quiet = private(gr.State())
    kind.input(show_kind, kind, [chosen, *views], **quiet)
    chosen.input(show, chosen, views, **quiet)
    item.select(lambda key: show(key)[2], chosen, report_view, **quiet)
    if overview.is_file():
        item.select(lambda: page(overview, "All measurements"), None, links, **quiet)
        links.select(show_linked, None, [kind, chosen, *views], **quiet)


def lead(report: Report) -> str:
    """Why one would want the layer, and what was measured."""
    facts = report.facts
    source, seeds = escape(facts["data"]["source"].partition(", ")[0]), len(facts["seeds"])
    starts = f"{seeds} random starts (seeds)" if seeds > 1 else "one random start (seed)"
    name = report.others[0]
    return (
        '<div class="lead"><h2>Why a wavelet layer?</h2><p>It gives a GPT averages of what came before, so that it may '
        f"learn in fewer steps: on {source}, over {starts} of {in_words(facts['tokens'])} {report.item}s each, "
        f"<b>{escape(report.layer(name))}</b> reached the final loss of {_the(report)} "
        f"{_measured(facts['variants'][name])}.</p></div>"
    )


def _the(report: Report) -> str:
    """The baseline in a sentence."""
    layer = report.layer(report.baseline)
    return escape(f"the {layer}" if layer.startswith("baseline") else layer)


def _measured(variant: dict[str, Any]) -> str:
    """A report's speed-up with its interval, if it can be told from chance."""
    speedup, gap = variant["speedup"]["steps"], variant["difference"] or {}
    p = gap.get("p_holm", gap.get("p"))
    value, low, high = speedup["value"], speedup["low"], speedup["high"]
    interval = "" if low is None else f"95 % interval {low:.2f} to {high:.2f}"
    if p is None or p >= SIGNIFICANT:
        return f"<b>no sooner than chance may explain</b> ({value:.2f} times as fast; {interval})".replace("; )", ")")
    return f"<b>{value:.2f} times {'sooner' if value > 1 else 'as fast'}</b> ({interval})"


def explorer(report: Report) -> str:
    """The chart, the slider over the loss to reach, and what each of its positions means.

    The marks and the sentence of each position are in hidden elements, which static/why.js shows.
    """
    shown = [report.baseline, *report.others[:LINES]]
    lines = [_line(report, name) for name in shown]
    steps, unit = report.facts["steps"], f"yes/no questions per {report.item}"
    top = max(high for line in lines for x, high in zip(line.x, line.high, strict=True) if x >= EARLY * steps)
    bottom = min(low for line in lines for low in line.low)
    plane = Plane((0, steps), (bottom - ROOM * (top - bottom), top))
    final, lowest = report.final(report.baseline), min(map(report.final, shown))
    apart = (top - lowest) / STOPS
    start = int((top - final) / apart)  # where the slider is at the baseline's final loss
    goals = {final + i * apart: i * apart for i in range(start, start - STOPS - 1, -1)}
    stops = [_stop(report, shown, plane, goal, behind) for goal, behind in goals.items()]
    positions = "".join(
        f'<div class="stop" data-goal="{goal:.2f} {unit}"><div>{marks}</div><div>{answer}</div></div>'
        for goal, (marks, answer) in zip(goals, stops, strict=True)
    )
    marks, answer = stops[start]
    event = f" An event is a {EVENT}." if report.item == "event" else ""
    return (
        f'<p class="unit"><b title="Validation loss in bits per {report.item}">Yes/no questions per {report.item}'
        f"</b>: how many of them, on average, still have to be answered to know the next {report.item}. "
        f"Lower is better.{event}</p>"
        + chart(plane, lines, _described(report, shown), f'<div class="marks" aria-hidden="true">{marks}</div>')
        + '<p class="axis">training steps</p>'
        f'<label class="goal">Set a goal, from easy to hard<input type="range" min="0" max="{len(stops) - 1}" '
        f'value="{start}" aria-valuetext="{final:.2f} {unit}"></label>'
        f'<output class="answer">{answer}</output><div hidden>{positions}</div>{_key(report, shown)}'
    )


def _line(report: Report, name: str) -> Line:
    """Mean over the seeds, and a band from the lowest to the highest."""
    curves = list(report.curves[name].values())
    losses = list(zip(*(curve.losses for curve in curves), strict=True))
    mean_, low, high = ([of(row) for row in losses] for of in (mean, min, max))
    return Line(report.layer(name), curves[0].steps, mean_, low, high)


def _described(report: Report, shown: list[str]) -> str:
    finals = ", ".join(f"{report.layer(name)} {report.final(name):.2f}" for name in shown)
    return f"Loss over {report.facts['steps']:,} training steps, in yes/no questions per {report.item}. End: {finals}."


def _stop(report: Report, shown: list[str], plane: Plane, goal: float, behind: float) -> tuple[str, str]:
    """The marks in the chart and the sentence for a loss to reach.

    `goal` is for the mean over the seeds; each seed's own is `behind` above the final loss of its baseline.
    """
    found = {name: report.reached(name, behind) for name in shown}
    y = f"top:{plane.y(goal):.2f}%"
    marks = "".join(
        f'<i class="dot line-{i}" style="left:{plane.x(reached.steps):.2f}%;{y}"></i>'
        for i, reached in enumerate(found.values())
        if reached.steps is not None
    )
    said = [
        f'<b class="line-{i}">{escape(report.layer(name))}</b> {_told(reached, first=i == 0)}'
        for i, (name, reached) in enumerate(found.items())
    ]
    sentence = f"To get down to <b>{goal:.2f}</b> questions the {'; '.join(said)}.".replace(";", ",", 1)
    return f'<i class="level" style="{y}"></i>{marks}', sentence


def _told(reached: Reached, *, first: bool) -> str:
    """When a layer reaches a loss, in words."""
    if reached.steps is None:
        return f"gets there in {reached.runs} of {reached.seeds} runs" if reached.runs else "never gets there"
    if first or reached.speedup is None:
        return f"needs {reached.steps:,.0f} steps"
    factor = f"{max(reached.speedup, 1 / reached.speedup):.1f}"
    late = "sooner" if reached.speedup > 1 else "later"
    return f"{reached.steps:,.0f}: <strong>{'no sooner' if factor == '1.0' else f'{factor} times {late}'}</strong>"


def _key(report: Report, shown: list[str]) -> str:
    """What the lines are, and how they were measured."""
    variants, seeds = report.facts["variants"], len(report.facts["seeds"])
    layers = {report.layer(name): ABOUT.get(variants[name]["mixer"], "") for name in shown}
    about = "".join(
        f'<dt class="line-{i}">{escape(layer)}</dt><dd>{escape(words)}</dd>'
        for i, (layer, words) in enumerate(layers.items())
        if words
    )
    times = ", ".join(
        f"{variants[name]['step_time']['ratio']:.2f} with {escape(report.layer(name))}" for name in shown[1:]
    )
    spread = f"Lines are means over {seeds} seeds, bands go from the lowest to the highest. " if seeds > 1 else ""
    longer = f" A step takes longer by a factor of {times}." if times else ""
    return (
        f'<dl class="key">{about}</dl><p class="unit">{spread}All models are small '
        f"({in_words(variants[report.baseline]['parameters'])} parameters).{longer}</p>"
    )
