"""How two runs learn, as HTML: a chart of their losses, what the one is ahead of the other, and their commands."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from waveletgpt.app.drawing.lines import Line, Plane, chart
from waveletgpt.app.runs import INCOMPARABLE, Run, unfair
from waveletgpt.app.tabs.reports import LAYERS
from waveletgpt.app.web.components import COPY
from waveletgpt.app.web.markup import escape, note
from waveletgpt.common.curves import Curve, steps_to
from waveletgpt.common.modalities import find_modality

EARLY = 0.1
"""Fraction of the axis, at its start, whose losses may lie above the chart."""
ROOM = 0.08
"""Of the chart's height, above and below the lines."""
NAMES = "AB"


class Scale(NamedTuple):
    """What an axis counts in."""

    each: float
    """Steps, tokens or seconds of one."""
    name: str
    form: str
    """How an amount is written."""


SCALES = {
    "step": (Scale(1, "training steps", "{:,.0f} steps"),),
    "tokens": (
        Scale(1e6, "million TOKENS", "{:.2f} million TOKENS"),
        Scale(1e3, "thousand TOKENS", "{:.1f} thousand TOKENS"),
    ),
    "seconds": (
        Scale(3600, "hours of training", "{:.2f} hours"),
        Scale(60, "minutes of training", "{:.1f} minutes"),
        Scale(1, "seconds of training", "{:.1f} seconds"),
    ),
}
"""Of each axis, the largest first."""


def pair(parts: Iterable[str]) -> str:
    """What belongs to A beside what belongs to B, or below it on a phone."""
    return f'<div class="pair">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def layer(run: Run) -> str:
    """What is between the blocks, in words."""
    return LAYERS.get(run.mixer, run.mixer)


def scale_of(axis: str, highest: float, tokens: str) -> Scale:
    """The largest scale of which `highest` has two, else the smallest."""
    scale = next((one for one in SCALES[axis] if highest >= 2 * one.each), SCALES[axis][-1])
    return Scale(scale.each, scale.name.replace("TOKENS", tokens), scale.form.replace("TOKENS", tokens))


def course(a: Run, b: Run, axis: str) -> str:
    """The meter, the chart, and what makes the comparison unfair."""
    shown = [(name, run) for name, run in zip(NAMES, (a, b), strict=True) if run.rows]
    missing = "".join(
        note(f"{name} has no evaluation yet; its line begins with the first.")
        for name, run in zip(NAMES, (a, b), strict=True)
        if not run.rows
    )
    if not shown:
        return missing
    item = find_modality(a.modality).tokens
    scale = scale_of(axis, max(run.rows[-1][axis] for _, run in shown), item)
    lines = [
        Line(
            f"{name}: {layer(run)}",
            [row[axis] / scale.each for row in run.rows],
            run.losses(),
            pale=run.losses("train_loss"),
        )
        for name, run in shown
    ]
    plane = plane_of(lines)
    differ = unfair(a, b)
    compares = len(shown) == len(NAMES) and a != b and not INCOMPARABLE & differ.keys()
    sentence, marks = meter(a.curve(axis), b.curve(axis), a.unit, scale, plane) if compares else ("", "")
    ends = ", ".join(f"{line.name} {line.y[-1]:.3f}" for line in lines)
    return (
        f'<output class="answer">{sentence}</output>{warning(a, b, differ)}{missing}'
        f'<p class="unit">Loss in <b>{a.unit}</b>, on held-out data: lower is better. The pale lines are the losses on '
        "what was trained on since the evaluation before.</p>"
        + chart(plane, lines, f"Loss in {a.unit} over {scale.name}. Last: {ends}.", marks)
        + f'<p class="axis">{scale.name}</p>'
    )


def plane_of(lines: Sequence[Line]) -> Plane:
    """Room for all lines, without the first high losses."""
    end = max(line.x[-1] for line in lines)
    points = [point for line in lines for of in (line.y, line.pale) for point in zip(line.x, of, strict=True)]
    late = [y for x, y in points if x >= EARLY * end]
    low, high = min(late), max(late)
    room = max(ROOM * (high - low), 0.01)
    return Plane((0, end), (low - room, high + room))


def meter(a: Curve, b: Curve, unit: str, scale: Scale, plane: Plane) -> tuple[str, str]:
    """Who reached the other's last loss when, in two sentences, and the marks of the first one in the chart.

    A loss counts as reached as in a comparison of `compare.py`.
    """
    b_reached = min(b.losses) <= a.losses[-1]
    said = [_reached("BA", b, a, unit, scale), _reached("AB", a, b, unit, scale)]
    target = a.losses[-1] if b_reached else b.losses[-1]
    y = f"top:{plane.y(target):.2f}%"
    dots = "".join(
        f'<i class="dot line-{i}" style="left:{plane.x(x / scale.each):.2f}%;{y}"></i>'
        for i, curve in enumerate((a, b))
        if (x := steps_to(curve, target)) is not None
    )
    return " ".join(said if b_reached else reversed(said)), f'<i class="level" style="{y}"></i>{dots}'


def _reached(names: str, run: Curve, other: Curve, unit: str, scale: Scale) -> str:
    """When a run reached the last loss of the other one, in a sentence; `names` are the two."""
    name, theirs = names[0], names[1]
    loss = f"{theirs}'s last loss ({other.losses[-1]:.2f} {unit})"
    ours, own = steps_to(run, other.losses[-1]), steps_to(other, other.losses[-1])
    if ours is None or own is None:
        return f"{name} has not reached {loss}."
    times = f"{max(own / ours, ours / own):.1f}"
    said = "no sooner" if times == "1.0" else f"{times} times {'sooner' if own > ours else 'later'}"
    after, instead = scale.form.format(ours / scale.each), scale.form.format(own / scale.each)
    return f"<b>{name} reached {loss}</b> after {after}, {theirs} after {instead}: <strong>{said}</strong>."


def warning(a: Run, b: Run, differ: dict[str, str]) -> str:
    """What makes a comparison unfair; empty if it is fair."""
    if a.path == b.path:
        return note("A and B are the same run; choose another one to compare with.")
    if not differ:
        return ""
    named = ", ".join(name if name == "data" else f"{name} ({values})" for name, values in differ.items())
    if INCOMPARABLE & differ.keys():
        return note(f"These losses do not compare: the runs differ in {named}.", wrong=True)
    return note(f"Not a fair comparison of the layers: the runs also differ in {named}.", wrong=True)


def state_line(name: str, run: Run, now: float) -> str:
    """How far a run is, in one line."""
    facts = [f"{run.state(now)} at step {run.step:,} of {run.steps:,}"]
    if losses := run.losses():
        lowest = f" (lowest {min(losses):.3f})" if min(losses) < losses[-1] else ""
        facts.append(f"validation loss {losses[-1]:.3f}{lowest} {run.unit}")
        facts.append(f"{run.tokens_per_second:,.0f} {find_modality(run.modality).tokens} a second")
    problem = note(run.problem, wrong=True) if run.problem else ""
    return (
        f'<p class="about-line"><b class="line-{NAMES.index(name)}">{name}: {escape(layer(run))}</b> · '
        f"{', '.join(facts)}</p>{problem}"
    )


def command(name: str, run: Run) -> str:
    """The command that trains a run anew, ready to copy."""
    if not run.command:
        return note(f"{name} is an older run, which does not hold its command.")
    button = COPY.replace("<button", f'<button aria-label="Copy the command of {name}"', 1)
    return (
        f'<div class="command"><p class="about-line"><b>{name}: {escape(run.name)}</b></p>'
        f"<pre><code>{escape(run.command)}</code></pre>{button}</div>"
    )


def sample_line(name: str, run: Run, its: int, step: int) -> str:
    """Which step a sample is of, and how good the model was."""
    losses = {int(row["step"]): loss for row, loss in zip(run.rows, run.losses(), strict=True)}
    loss = f" · {losses[its]:.2f} {run.unit}" if its in losses else ""
    last = f", the last before {step:,}" if its != step else ""
    return f'<p class="about-line"><b>{name}, step {its:,}</b> of {run.steps:,}{last}{loss}</p>'


def no_sample(name: str, run: Run, first: int) -> str:
    """Why a card is empty."""
    if first:
        return note(f"{name} has its first sample at step {first:,}.")
    if run.sampled:
        return note(f"{name} has no sample yet; one comes with each evaluation.")
    return note(
        f"{name} has no samples: it was trained with --sample-tokens 0. Its command with --resume --sample-tokens 500 "
        "writes them from then on."
    )
