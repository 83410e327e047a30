"""The table of a report: its cells as text, and the table for a terminal."""

import re
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from waveletgpt.common.units import in_unit

LEAST_P = 1e-4
"""Smaller p-values are shown as "< 0.0001"."""
UNKNOWN = "?"
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}


def columns(report: dict[str, Any]) -> list[str]:
    """The headings of the table."""
    unit = report["data"]["unit"]
    corrected = any("p_holm" in (one["difference"] or {}) for one in report["variants"].values())
    return [
        "variant",
        "parameters",
        "learning rate",
        f"final loss, {unit}",
        f"difference, {unit}",
        "p (Holm)" if corrected else "p",
        "in equal seconds",
        "speed-up in steps",
        "in seconds",
        *(["speed-up, decayed"] if has_longer(report) else []),
        "step time",
    ]


def has_longer(report: dict[str, Any]) -> bool:
    """Whether the baseline was trained longer as well."""
    return any(variant.get("decayed_speedup") for variant in report["variants"].values())


def cells(report: dict[str, Any], name: str) -> list[str]:
    """The row of a variant."""
    unit, variant = report["data"]["unit"], report["variants"][name]
    final, difference, speedup = variant["final"], variant["difference"], variant["speedup"]
    in_seconds = variant["difference_in_equal_seconds"]
    scale, time = in_unit(1, unit), variant["step_time"]
    sd = "" if final["sd"] is None else f" ± {final['sd'] * scale:.4f}"
    row = [name, f"{variant['parameters']:,}", f"{variant['lr']:g}", f"{final['mean'] * scale:.4f}{sd}"]
    decayed = [""] if has_longer(report) else []
    if difference is None:
        return [*row, "the baseline", "", "", "", "", *decayed, f"{report['step_seconds'] * 1000:.4g} ms"]
    if found := variant.get("decayed_speedup"):
        decayed = [f"{'at least ' * found['at_least']}{found['value']:.2f}{bounds(found, 1, '.2f')}"]
    return [
        *row,
        minus(f"{difference['mean'] * scale:+.4f}") + bounds(difference, scale, "+.4f"),
        p_value(p_of(difference)),
        minus(f"{in_seconds['mean'] * scale:+.4f}") + bounds(in_seconds, scale, "+.4f"),
        *(f"{speedup[kind]['value']:.2f}{bounds(speedup[kind], 1, '.2f')}" for kind in ("steps", "seconds")),
        *decayed,
        f"\N{MULTIPLICATION SIGN} {time['ratio']:.3f} ({time['q25']:.3f} to {time['q75']:.3f})",
    ]


def bounds(interval: dict[str, float | None], scale: float, digits: str) -> str:
    """An interval's bounds in brackets; empty if there are none."""
    low, high = interval["low"], interval["high"]
    return "" if low is None or high is None else minus(f" [{low * scale:{digits}}, {high * scale:{digits}}]")


def minus(text: str) -> str:
    """Replace hyphens by minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")


def p_of(difference: dict[str, float | None]) -> float | None:
    """The p-value of a difference, corrected for the number of variants; reports of old are not corrected."""
    return difference.get("p_holm", difference["p"])


def p_value(p: float | None) -> str:
    """A p-value with two digits."""
    if p is None:
        return UNKNOWN
    return f"< {LEAST_P:.4f}" if p < LEAST_P else f"{p:.2g}"


def table(report: dict[str, Any]) -> Table:
    """The table for a terminal, with fewer columns and without some intervals to fit its width."""
    view = Table(
        title=f"{report['data']['source']}: {report['steps']:,} steps, {seeds(report)}",
        caption="± standard deviation over seeds; [95 % interval]; step time over the baseline's",
        box=box.SIMPLE,
        pad_edge=False,
    )
    left_out = ("parameters", "learning rate", "in equal seconds", "speed-up, decayed")
    without_interval = ("in seconds", "step time")
    shown = [(i, heading) for i, heading in enumerate(columns(report)) if heading not in left_out]
    for _, heading in shown:
        view.add_column(heading, justify="left" if heading == "variant" else "right")
    for name in report["variants"]:
        row = cells(report, name)
        parts = [(heading, re.split(r" (?=[\[±(])", row[i])) for i, heading in shown]
        view.add_row(*(escape("\n".join(part[:1] if heading in without_interval else part)) for heading, part in parts))
    return view


def seeds(report: dict[str, Any]) -> str:
    """The number of seeds, in words."""
    return f"{len(report['seeds'])} seed{'s' if len(report['seeds']) > 1 else ''}"


def optimizer(report: dict[str, Any]) -> str:
    """The optimizer's name: Muon or AdamW. Old reports do not state it, and used AdamW."""
    return OPTIMIZERS[report["optimizer"].get("name", "adamw")]
