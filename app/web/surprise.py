"""What the page shows of surprise: marks on the results, running bits, and what might have stood in a place."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from waveletgpt.app.drawing.lines import Line, Plane, chart
from waveletgpt.app.instruments.alternatives import Alternative
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Result
from waveletgpt.app.scoring import with_scores
from waveletgpt.app.web.markup import escape
from waveletgpt.app.web.session import Session

POINTS = 150
"""Of a line at most."""
WINDOW = 20
"""A running mean covers this part of a result, one in so many tokens."""
SHORTEST = 16  # tokens of that mean at least
LEAST_TOP = 4.0  # bits at the upper edge of the chart, at least
CONTEXT = 24
"""Characters shown before a place in a text."""


def marks(session: Session) -> list[Tensor | None]:
    """The surprise, in nats, that marks each card's result; None where nothing is marked."""
    if session.marking == "other":
        return by_other(session)
    return [result.completion.surprise if result and session.marking else None for result in session.results]


def by_other(session: Session) -> list[Tensor | None]:
    """The surprise of each other card's model, in nats, as far as it is scored."""
    return [result.by_other if result else None for result in with_scores(session.results, session.scored)]


def running_bits(session: Session, modality: AppModality[Any]) -> str:
    """A chart of the bits of each token, as a running mean, under both models; "" before the first tokens."""
    results = session.results
    own = [result.completion.surprise if result else None for result in results]
    lines = [
        _line(f"{name} by {model}", surprise, result)
        for names, surprises in (("AB", own), ("BA", by_other(session)))
        for name, model, surprise, result in zip("AB", names, surprises, results, strict=True)
        if result and surprise is not None and len(surprise) >= SHORTEST
    ]
    if not lines:
        return ""
    wanted = max(result.completion.wanted for result in results if result)
    plane = Plane((0, wanted), (0, max(LEAST_TOP, *(max(line.y) for line in lines))))
    inside = f'<span class="axis-name">bits for each {modality.token}, over {modality.tokens}</span>'
    described = "; ".join(f"{line.name} {line.y[-1]:.2f}" for line in lines)
    drawn = chart(plane, lines, f"Running bits for each {modality.token}, at the end: {described}", inside)
    return f'<div class="running">{drawn}</div>'


def _line(name: str, surprise: Tensor, result: Result) -> Line:
    bits = surprise.double().numpy() / math.log(2)
    size = max(SHORTEST, result.completion.wanted // WINDOW)
    sums = np.append(0.0, np.cumsum(bits))
    ends = np.unique(np.linspace(SHORTEST, len(bits), POINTS).astype(int))
    begins = (ends - size).clip(0)
    means = ((sums[ends] - sums[begins]) / (ends - begins)).tolist()
    return Line(name, ends.tolist(), means, means, means)


def hint(session: Session, modality: AppModality[Any]) -> str:
    """What to click on, and the most surprising place of each card."""
    if not session.marking:
        return ""
    buttons = [
        _look(card, int(surprise.argmax()), f"Most surprising of {'AB'[card]}", f"most-{card}")
        for card, surprise in enumerate(marks(session))
        if surprise is not None and len(surprise)
    ]
    said = f"Click on {modality.place} to see what else the models might have written there."
    return f'<div class="alternatives"><p class="note">{said}</p><p class="places">{"".join(buttons)}</p></div>'


def table(session: Session, modality: AppModality[Any], card: int, index: int, found: Sequence[Alternative]) -> str:
    """What might have stood in a place, with a button for each to go on from there.

    Args:
        session: with a result on the card.
        modality: its kind of data.
        card: 0 or 1.
        index: of the new token.
        found: the alternatives.
    """
    result = session.results[card]
    if result is None:
        return ""
    tokenizer, name = result.loaded.tokenizer, "AB"[card]
    both = any(one.by_other is not None for one in found)
    rows = []
    for one in found:
        label = escape(modality.label(one.token, tokenizer))
        chances = [one.probability, one.by_other][:: -1 if card else 1] if both else [one.probability]
        bars = "".join(f"<td>{_bar(chance)}</td>" for chance in chances)
        action = (
            "is there"
            if one.written
            else f'<button type="button" class="plain" data-card="{card}" data-token="{index}" data-id="{one.token}" '
            f'aria-label="Go on with {label}">Branch here</button>'
        )
        kind = ' class="written"' if one.written else ""
        rows.append(f'<tr{kind}><th scope="row">{label}</th>{bars}<td>{action}</td></tr>')
    by = "AB" if both else name
    heads = [modality.token.capitalize(), *(f"Chance by {model}" for model in by), ""]
    head = "".join(f'<th scope="col">{one}</th>' if one else "<td></td>" for one in heads)
    last = result.completion.written - 1
    steps = [
        _look(card, to, text, role)
        for to, text, role in ((index - 1, "Earlier", "earlier"), (index + 1, "Later", "later"))
        if 0 <= to <= last
    ]
    return (
        f'<div class="alternatives" data-card="{card}" data-token="{index}">'
        f"<p>{_place(result, modality, name, index)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f'<p class="places">{"".join(steps)}</p></div>'
    )


def _place(result: Result, modality: AppModality[Any], name: str, index: int) -> str:
    """A sentence on what stands there."""
    tokenizer, place = result.loaded.tokenizer, result.completion.prompt_length + index
    if modality.is_printed:
        before = tokenizer.decode(result.completion.ids[max(0, place - CONTEXT) : place])
        return f"Card {name}, after “{escape(before)}”:"
    return f"Card {name}, new {modality.token} {index + 1:,} of {result.completion.written:,}:"


def _look(card: int, index: int, text: str, role: str) -> str:
    place = f'data-card="{card}" data-token="{index}" data-role="{role}"'
    return f'<button type="button" class="plain" {place}>{text}</button>'


def _bar(probability: float | None) -> str:
    """A probability as a bar and a number."""
    if probability is None:
        return ""
    percent = 100 * probability
    text = f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 0.1 else "below 0.1 %"
    return f'<span class="chance" style="--part:{percent:.1f}%">{text}</span>'
