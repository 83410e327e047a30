"""Reports of `training/compare.py`: readable names, when each variant reaches a loss, and their pages as HTML."""

import base64
import html
import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any

from markdown_it import MarkdownIt

from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.web.markup import TEMPLATE_CHARACTERS, escape, note
from waveletgpt.common.curves import Curve, steps_to
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import find_modality
from waveletgpt.common.units import in_words

SHIPPED_REPORTS = SHIPPED.parent / "results"
"""The folder beside app/, in the source tree as in the installed package."""
LAYERS = {"none": "baseline", "shift": "token shift"}
"""Readable names of mixers; the others are called as in the code."""
POSITIONS = {"rope": "rotary", "half-rope": "half-rotary"}
FIELDS = {"n_layer": "{} blocks", "positions": "{} positions"}
"""Readable forms of what a variant changes; the others are called as in the code."""
MAIN = ("haar", "learnable", "shift")
"""The variants that a chart shows first: the paper's layers and the simplest control."""
LINES = 3
"""The most variants in a chart, beside the baseline."""
FIGURE = re.compile(r'<p><img src="([^"/\\]+\.svg)" alt="([^"]*)" /></p>')
LINK = re.compile(r'<a href="(?!https?://)([^"]*)">(.*?)</a>')
"""A link to a file, which the page does not serve."""


@dataclass(frozen=True)
class Reached:
    """When the runs of a variant reach a loss, over the seeds that the baseline has too."""

    runs: int
    """Runs that do."""
    seeds: int
    """All runs."""
    steps: float | None
    """Geometric mean over the seeds; None if a run never reaches it."""
    speedup: float | None
    """The baseline's steps over the variant's, geometric mean over the seeds; None if one of the two never does."""


@dataclass(frozen=True)
class Report:
    """A comparison."""

    folder: Path
    facts: dict[str, Any]
    """The contents of its report.json."""

    @property
    def modality(self) -> str:
        """Name of the kind of data."""
        return f"{self.facts['data']['modality']}"

    @property
    def item(self) -> str:
        """What a token of the data is called: character, sample, event."""
        return f"{self.facts['data']['unit']}".rpartition(" per ")[2]

    @property
    def baseline(self) -> str:
        """The variant that the others are compared with."""
        return f"{self.facts['baseline']}"

    @property
    def others(self) -> list[str]:
        """The other variants, those of `MAIN` first."""
        others = [name for name in self.facts["variants"] if name != self.baseline]
        return sorted(others, key=lambda name: self.facts["variants"][name]["mixer"] not in MAIN)

    @property
    def name(self) -> str:
        """The report by its settings, such as "Text, 2 million tokens, rotary positions: haar, dyadic"."""
        positions = self.facts["model"]["positions"]
        layers = [self.layer(name) for name in self.others]
        if len(layers) > LINES + 1:
            layers = [*layers[:LINES], f"{len(layers) - LINES} more"]
        against = "" if self.baseline == "none" else f" against {self.layer(self.baseline)}"
        return (
            f"{self.modality.capitalize()}, {in_words(self.facts['tokens'])} tokens, "
            f"{POSITIONS.get(positions, positions)} positions: {', '.join(layers)}{against}"
        )

    @property
    def rank(self) -> tuple[int, int]:
        """Orders the reports of one kind of data: first those with the variants of `MAIN`, and of these the longest."""
        return -len(set(MAIN) & set(self.facts["variants"])), -self.facts["tokens"]

    def layer(self, name: str) -> str:
        """A readable name of a variant, such as "haar" or "haar with 4 blocks"."""
        variant = self.facts["variants"][name]
        layer = LAYERS.get(variant["mixer"], variant["mixer"])
        changes = [FIELDS.get(field, f"{field} {{}}").format(value) for field, value in variant["changes"].items()]
        return f"{layer} with {' and '.join(changes)}" if changes else f"{layer}"

    @cached_property
    def curves(self) -> dict[str, dict[int, Curve]]:
        """The curves of each variant by seed, with losses in bits per token."""
        return {
            name: {
                run["seed"]: Curve(tuple(run["steps"]), tuple(loss / math.log(2) for loss in run["val_loss"]))
                for run in variant["runs"]
            }
            for name, variant in self.facts["variants"].items()
        }

    def final(self, name: str) -> float:
        """A variant's final loss in bits per token, mean over the seeds."""
        return mean(curve.losses[-1] for curve in self.curves[name].values())

    def reached(self, name: str, behind: float) -> Reached:
        """When a variant comes within `behind` bits per token of the baseline's final loss with the same seed.

        At 0 the speed-up is that of the report, for a variant that reaches the loss with all seeds.
        """
        pairs = [(curve, self.curves[self.baseline].get(seed)) for seed, curve in self.curves[name].items()]
        found = [
            (steps_to(curve, theirs.losses[-1] + behind), steps_to(theirs, theirs.losses[-1] + behind))
            for curve, theirs in pairs
            if theirs
        ]
        ours = [steps for steps, _ in found if steps is not None]
        baseline = [steps for _, steps in found if steps is not None]
        steps = geometric_mean(ours) if len(ours) == len(found) else None
        speedup = geometric_mean(baseline) / steps if steps and len(baseline) == len(found) else None
        return Reached(len(ours), len(found), steps, speedup)


def find_reports(directory: Path) -> dict[str, Report]:
    """Find the reports in `directory` and below it.

    Returns:
        Reports by the path of their folder. Those of one kind of data are in the order of their `rank`. One in which
        only the baseline finished says nothing, and is left out.

    Raises:
        InputError: there is no such directory, or a report in it cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory; --results must be one that holds reports of compare.py")
    reports = [read_report(path) for path in sorted(directory.rglob("report.json"))]
    reports = sorted((report for report in reports if report.others), key=lambda report: report.rank)
    return {str(report.folder.relative_to(directory)): report for report in reports}


def read_report(path: Path) -> Report:
    """Read a report.json. Raises InputError if it is not one."""
    try:
        report = Report(path.parent, json.loads(path.read_text(encoding="utf-8")))
        _ = find_modality(report.modality), report.rank, report.name, report.final(report.baseline)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no report of compare.py: {error!r}") from None
    return report


def page(path: Path, name: str) -> str:
    """A Markdown file as HTML, without its title.

    A figure becomes an embedded image, and a table scrolls in itself. A link to another report of the same directory
    becomes one with its folder as `data-report`; other links to files become plain text.

    Args:
        path: the file.
        name: of the page, for people who hear it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return note(f"{path} cannot be read: {error}", wrong=True)
    text = re.sub(r"<!--.*?-->|\A# .*", "", text)
    found = MarkdownIt("commonmark", {"html": False}).enable("table").render(text).translate(TEMPLATE_CHARACTERS)
    found = FIGURE.sub(lambda match: figure(path.with_name(html.unescape(match[1])), match[2]), found)
    found = LINK.sub(_link, found)
    scrolled = f'<div class="wide" tabindex="0" role="region" aria-label="Table: {escape(name)}"><table>'
    found = found.replace("<table>", scrolled).replace("</table>", "</table></div>")
    return f'<article class="report">{found}</article>'


def _link(match: re.Match[str]) -> str:
    folder, _, file = html.unescape(match[1]).rpartition("/")
    if file != "report.md" or folder.startswith("."):
        return match[2]
    return f'<a href="#why" data-report="{html.escape(folder)}">{match[2]}</a>'


def figure(path: Path, about: str) -> str:
    """An SVG file as an embedded image; empty if there is no such file."""
    try:
        image = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
    return f'<img class="plot" alt="{about}" src="data:image/svg+xml;base64,{image}">'
