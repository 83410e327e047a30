"""Update the tables of `PAGES` from the reports in results/: `python docs/results.py`.

A table is between the lines `<!-- NAME ARGUMENTS -->`, where NAME is one of `TABLES`, and `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import write_text
from waveletgpt.common.units import in_unit
from waveletgpt.training.comparing.cells import bounds, minus, p_of, p_value
from waveletgpt.training.comparing.statistics import difference

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGES = (ROOT / "docs" / "results.md", ROOT / "README.md", RESULTS / "README.md")
MODALITIES = ("text", "audio", "music")
BUDGETS = ("short", "long")
POSITIONS = {"rope": "rotary", "learned": "learned"}
SIGNIFICANT = 0.05
"""Speed-ups are bold if the p-value of the final losses is below this."""
BLOCK = re.compile(r"(<!-- (\w+)((?: \S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)

Report = dict[str, Any]


def report(name: str) -> Report:
    """The report of a comparison."""
    found: Report = json.loads((RESULTS / name / "report.json").read_text(encoding="utf-8"))
    return found


Comparisons = list[tuple[str, list[tuple[str, Report]]]]
"""For each modality, the names and reports of comparisons."""


def reports(positions: str) -> Comparisons:
    """The comparisons with these positions: for each modality those of the shorter and the longer budget, if any."""
    names = {modality: [f"{modality}-{positions}-{budget}" for budget in BUDGETS] for modality in MODALITIES}
    return [(m, [(name, report(name)) for name in found if (RESULTS / name).exists()]) for m, found in names.items()]


def in_steps(positions: str) -> list[list[str]]:
    """Differences in final loss and speed-ups, at equal steps."""
    return by_layer(reports(positions), "difference", "steps", "difference")


def in_seconds(positions: str) -> list[list[str]]:
    """Differences in final loss and speed-ups, at equal seconds."""
    return by_layer(reports(positions), "difference_in_equal_seconds", "seconds", "difference in equal seconds")


def named(*names: str) -> list[list[str]]:
    """Differences in final loss and speed-ups, at equal steps, of the comparisons with these names."""
    found = [(whole["data"]["modality"], [(name, whole)]) for name in names for whole in [report(name)]]
    return by_layer(found, "difference", "steps", "difference")


def by_layer(comparisons: Comparisons, compared: str, speed: str, heading: str) -> list[list[str]]:
    """One row for each layer of each comparison. `compared` and `speed` are keys of a report's variants."""
    rows = [["data", "tokens", "seeds", "layer", "loss", heading, "p", f"speed-up in {speed}"]]
    for modality, found in comparisons:
        for name, whole in found:
            unit = whole["data"]["unit"]
            for layer, variant in whole["variants"].items():
                first = layer == whole["baseline"]
                label = [f"[{modality}](../results/{name}/report.md), {unit}", millions(whole), seeds(whole)]
                row = [*(label if first else ["", "", ""]), f"`{layer}`", loss(variant, unit)]
                if first:
                    rows.append([*row, "", "", ""])
                    continue
                gap, factor = variant[compared], variant["speedup"][speed]
                rows.append(
                    [*row, interval(gap, unit), p_value(p_of(gap)), f"{factor['value']:.2f}{bounds(factor, 1, '.2f')}"]
                )
    return rows


def summary(folder: str = "") -> list[list[str]]:
    """Speed-ups in steps of the longest comparison, for each kind of positions and data.

    `folder` is the path from the page to the reports.
    """
    layers: dict[str, None] = {}
    found = []
    for positions, label in POSITIONS.items():
        for modality, compared in reports(positions):
            if compared:
                found.append((modality, label, *compared[-1]))
                layers |= dict.fromkeys(compared[-1][1]["variants"])
    columns = [layer for layer in layers if layer != "none"]
    rows = [["data", "positions", "tokens", "seeds", *(f"`{layer}`" for layer in columns)]]
    for modality, label, name, whole in found:
        cells = [speed_up(whole["variants"][layer]) if layer in whole["variants"] else "" for layer in columns]
        rows.append([f"[{modality}]({folder}{name}/report.md)", label, millions(whole), seeds(whole), *cells])
    return rows


def speed_up(variant: dict[str, Any]) -> str:
    """A speed-up in steps with its interval; bold if it is significant."""
    factor = variant["speedup"]["steps"]
    value = f"{factor['value']:.2f}"
    p = p_of(variant["difference"])
    return f"{f'**{value}**' if p is not None and p < SIGNIFICANT else value}{bounds(factor, 1, '.2f')}"


def against(layer: str, positions: str) -> list[list[str]]:
    """A layer's final losses minus those of the others with the same seeds, at the longest budget."""
    rows = [["data", "tokens", "seeds", "beside", f"`{layer}` less that", "p"]]
    for modality, found in reports(positions):
        if not found:
            continue
        name, whole = found[-1]
        unit, ours = whole["data"]["unit"], finals(whole["variants"][layer])
        others = [other for other in whole["variants"] if other != layer]
        for other in others:
            theirs = finals(whole["variants"][other])
            both = [seed for seed in ours if seed in theirs]
            gap = difference([ours[seed] for seed in both], [theirs[seed] for seed in both])
            label = [f"[{modality}](../results/{name}/report.md), {unit}", millions(whole), seeds(whole)]
            rows.append(
                [
                    *(label if other == others[0] else ["", "", ""]),
                    f"`{other}`",
                    interval(gap, unit),
                    p_value(p_of(gap)),
                ]
            )
    return rows


def overhead() -> list[list[str]]:
    """Step times over the baseline's, by layer: median and quartiles in each comparison, and the median of medians."""
    found = [pair for positions in POSITIONS for _, pairs in reports(positions) for pair in pairs]
    layers = dict.fromkeys(layer for _, whole in found for layer in whole["variants"] if layer != whole["baseline"])
    rows = [["comparison", *(f"`{layer}`" for layer in layers)]]
    for name, whole in found:
        times = [whole["variants"].get(layer, {}).get("step_time") for layer in layers]
        cells = [f"{time['ratio']:.3f} ({time['q25']:.3f} to {time['q75']:.3f})" if time else "" for time in times]
        rows.append([f"[{name}](../results/{name}/report.md)", *cells])
    of = {
        layer: [r["variants"][layer]["step_time"]["ratio"] for _, r in found if layer in r["variants"]]
        for layer in layers
    }
    return [*rows, ["median of these", *(f"{median(ratios):.3f}" for ratios in of.values())]]


def controls(*names: str) -> list[list[str]]:
    """Losses, differences to the baseline and speed-ups in steps: one row per layer, one column per comparison."""
    found = [(name, report(name)) for name in names]
    heads = [f"[{r['data']['modality']}](../results/{name}/report.md), {r['data']['unit']}" for name, r in found]
    layers = dict.fromkeys(layer for _, whole in found for layer in whole["variants"])
    rows = [["layer", *heads]]
    for layer in layers:
        cells = []
        for _, whole in found:
            variant, unit = whole["variants"].get(layer), whole["data"]["unit"]
            if variant is None:
                cells.append("")
                continue
            gap, factor = variant["difference"], variant["speedup"]["steps"]["value"]
            beside = ""
            if gap is not None:
                change = minus(f"{in_unit(gap['mean'], unit):+.3f}")
                beside = f": {change} (p {p_value(gap['p'])}), {factor:.2f} times"
            cells.append(f"{in_unit(variant['final']['mean'], unit):.3f}{beside}")
        rows.append([f"`{layer}`", *cells])
    return rows


def depth(name: str) -> list[list[str]]:
    """The blocks that a baseline needs for the loss of a wavelet model, interpolated in the logarithm of the blocks."""
    whole = report(name)
    unit, shared = whole["data"]["unit"], whole["model"]["n_layer"]
    deep = [(v["changes"].get("n_layer", shared), v) for v in whole["variants"].values()]
    plain = sorted((n, v["final"]["mean"]) for n, v in deep if v["mixer"] == "none")
    rows = [["blocks", "layer", "parameters", "loss", "blocks a baseline needs for it", "step time"]]
    for n, variant in sorted(deep, key=lambda pair: (pair[1]["mixer"] != "none", pair[1]["mixer"], pair[0])):
        same = "" if variant["mixer"] == "none" else blocks_for(variant["final"]["mean"], plain)
        step = f"{variant['step_time']['ratio']:.2f} times"
        rows.append([f"{n}", f"`{variant['mixer']}`", f"{variant['parameters']:,}", loss(variant, unit), same, step])
    return rows


def blocks_for(target: float, plain: list[tuple[int, float]]) -> str:
    """The number of blocks, as text, at which baselines first reach the loss `target`.

    `plain` holds (blocks, loss) of the baselines, by rising blocks.
    """
    if target >= plain[0][1]:
        return f"fewer than {plain[0][0]}"
    for (fewer, higher), (more, lower) in pairwise(plain):
        if lower <= target:
            share = (higher - target) / (higher - lower)
            return f"{exp(log(fewer) + share * (log(more) - log(fewer))):.1f}"
    return f"none up to {plain[-1][0]} reaches it"


def finals(variant: dict[str, Any]) -> dict[int, float]:
    """Final losses by seed. Old reports have them only as the last of the evaluations."""
    return {run["seed"]: run.get("final_loss", run["val_loss"][-1]) for run in variant["runs"]}


def loss(variant: dict[str, Any], unit: str) -> str:
    """The final loss with its standard deviation."""
    sd = variant["final"]["sd"]
    spread = "" if sd is None else f" ± {in_unit(sd, unit):.3f}"
    return f"{in_unit(variant['final']['mean'], unit):.3f}{spread}"


def interval(gap: dict[str, Any], unit: str) -> str:
    """A difference in loss with its interval."""
    return minus(f"{in_unit(gap['mean'], unit):+.3f}") + bounds(gap, in_unit(1, unit), "+.3f")


def millions(whole: Report) -> str:
    """The number of training tokens of each run."""
    return f"{whole['tokens'] / 1e6:.2g} M"


def seeds(whole: Report) -> str:
    """The number of seeds."""
    return f"{len(whole['seeds'])}"


TABLES: dict[str, Callable[..., list[list[str]]]] = {
    "summary": summary,
    "in_steps": in_steps,
    "in_seconds": in_seconds,
    "named": named,
    "against": against,
    "overhead": overhead,
    "controls": controls,
    "depth": depth,
}


def page(text: str) -> str:
    """Update all tables of a page, given as text."""

    def table(found: re.Match[str]) -> str:
        head, name, arguments, end = found.groups()
        if name not in TABLES:
            raise InputError(f"there is no table {name}; known are {', '.join(TABLES)}")
        first, *rows = TABLES[name](*arguments.split())
        lines = [first, ["---"] * len(first), *rows]
        return head + "".join(f"| {' | '.join(line)} |\n" for line in lines) + end

    return BLOCK.sub(table, text)


def main() -> None:
    """Update the pages."""
    for path in PAGES:
        write_text(path, page(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    run_command(main)
