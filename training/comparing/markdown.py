"""A comparison's report as Markdown: what was compared, the table, the plots, and what to keep in mind."""

from collections.abc import Iterator, Sequence
from typing import Any

from waveletgpt.training.comparing.cells import cells, columns, seeds

FEW_SEEDS = 10
"""Below that, intervals over seeds come with a warning."""


def markdown(report: dict[str, Any], plots: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> str:
    """The report as it lies beside its `plots` (name without ending, what it shows); `notes` join the caveats."""
    head = columns(report)
    lines = [
        f"# {_heading(list(report['variants']))}: {report['data']['source']}",
        "",
        _compared(report),
        "",
        "```sh",
        report["command"],
        "```",
        "",
        _row(head),
        _row([":---", *["---:"] * (len(head) - 1)]),
        *(_row(cells(report, name)) for name in report["variants"]),
        "",
        _explained(report),
        "",
        *(f"![{caption}]({name}.svg)\n" for name, caption in plots),
        "## To keep in mind",
        "",
        *(f"* {caveat}" for caveat in [*caveats(report), *notes]),
        "",
    ]
    return "\n".join(lines)


def _heading(names: list[str]) -> str:
    """The variants' names, if they are few."""
    return ", ".join(names) if len(names) <= 5 else f"{names[0]} and {len(names) - 1} others"


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"


def _compared(report: dict[str, Any]) -> str:
    """What was compared, on what, where."""
    data, machine, model = report["data"], report["hardware"], report["model"]
    searched = any(len(variant["lrs"]) > 1 for variant in report["variants"].values())
    threads, jobs = machine["threads"], machine["jobs"]
    return (
        f"{len(report['variants'])} variants{', each at the best of its learning rates,' if searched else ''} on "
        f"{data['modality']}: {data['source']} ({data['licence']}; {data['tokens']['train']:,} training tokens). "
        f"Shared but for what a variant's name says: {model['n_layer']} blocks of {model['n_embd']} coordinates, "
        f"{model['n_head']} heads, T = {model['block_size']}, {model['positions']} positions. Every run is "
        f"{report['steps']:,} steps of {report['batch_size']} windows of {model['block_size']}, "
        f"{report['tokens']:,} tokens in the same order for every variant, with {seeds(report)} "
        f"({', '.join(map(str, report['seeds']))}). "
        f"Hardware: {machine['accelerator'] or machine['processor']}, {machine['cores']} cores, {jobs} "
        f"run{'s' if jobs > 1 else ''} at a time with {threads or 'all'} thread{'' if threads == 1 else 's'}"
        f"{' each' if jobs > 1 else ''}, {machine['precision']}, PyTorch {machine['torch']}."
    )


def _explained(report: dict[str, Any]) -> str:
    """What the columns of the table are."""
    interleaved = "rounds in which all take a step in turn, in one process, on the same batches"
    over = interleaved if report["steps_timed"] == "interleaved" else "the seeds, by the runs' own clocks"
    return (
        f"Final loss: mean ± standard deviation over the seeds, on {report['eval_windows']} windows of the validation "
        "split. Difference: to the baseline with the same seed, with its 95 % interval by Student's t and the p-value "
        "of the paired t test; in equal seconds: of its loss when the baseline's run ends, each step taking as long as "
        "step times say. Speed-up: the baseline's steps to its final loss over the variant's steps to the same, "
        "geometric mean over the seeds, with its 95 % bootstrap interval over seeds; in seconds: that over the "
        f"median step time. Step time: a variant's over the baseline's, median and quartiles over {over}."
    )


def caveats(report: dict[str, Any]) -> Iterator[str]:
    """What a reader has to know to judge the figures, a sentence or two each."""
    n, variants, baseline = len(report["seeds"]), report["variants"], report["baseline"]
    if n == 1:
        yield "One seed shows no spread: there are no intervals and no p-values, and no claim can rest on it."
    elif n < FEW_SEEDS:
        yield f"The intervals are over {n} seeds, and rough: a bootstrap over so few comes out too narrow."
    yield (
        f"There is an evaluation every {report['eval_every']:,} steps; between two of them the loss is taken to change "
        "linearly, and a loss counts as reached the first time."
    )
    yield (
        "Learning rates fall to the end of the run for all alike, so a variant that reaches the baseline's final loss "
        "early does so before its own rate has fallen; a run planned to be shorter would get there sooner."
    )
    short = [name for name, v in variants.items() if v["speedup"]["steps"]["reached"] < len(v["runs"])]
    if short:
        told = ", ".join(f"{name} ({variants[name]['speedup']['steps']['reached']} of {n})" for name in short)
        yield (
            f"Not every seed reached the baseline's final loss: {told}. There the speed-up is read the other way "
            "round, and so below 1: the baseline's steps to the variant's final loss over the variant's."
        )
    if any(len(v["lrs"]) > 1 for v in variants.values()):
        yield (
            f"Learning rates were chosen by the final validation loss with seed {report['seeds'][0]}, which counts "
            f"among the seeds as well. {_tried(report)}"
        )
    if report.get("rates_from"):
        yield f"Learning rates are those that the comparison in `{report['rates_from']}` chose for each variant."
    if edge := [name for name, v in variants.items() if v["lr_at_edge"]]:
        yield (
            f"The best learning rate of {', '.join(edge)} is the lowest or highest that was tried; a better one may "
            "lie beyond."
        )
    if report["steps_timed"] != "interleaved":
        yield "Step times are the runs' own, which ran at different times beside other work; the ratios are rough."
    partial = [name for name, v in variants.items() if len(v["runs"]) < n]
    if partial:
        yield f"Not all seeds are there for {', '.join(partial)}; comparisons are over those that {baseline} has too."
    for entry in report["failed"]:
        yield f"Failed: {entry['run']}: {entry['why']}."


def _tried(report: dict[str, Any]) -> str:
    """The final losses of every learning rate tried, in nats per token."""
    parts = []
    for name, variant in report["variants"].items():
        losses = [f"{lr}: {'diverged' if loss is None else f'{loss:.4f}'}" for lr, loss in variant["lrs"].items()]
        parts.append(f"{name} {', '.join(losses)}")
    return f"In nats per token, {'; '.join(parts)}."
