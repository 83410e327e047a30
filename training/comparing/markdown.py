"""A report as Markdown: what was compared, the table, the plots and the caveats."""

from collections.abc import Iterator, Sequence
from typing import Any

from waveletgpt.training.comparing.cells import cells, columns, has_longer, optimizer, seeds

FEW_SEEDS = 10
"""With fewer seeds the report warns that intervals are rough."""


def markdown(report: dict[str, Any], plots: Sequence[tuple[str, str]]) -> str:
    """The text of report.md. `plots` are the files beside it: name without ending, and caption."""
    head = columns(report)
    lines = [
        f"# {_heading(list(report['variants']))}: {report['data']['source']}",
        "",
        _describe(report),
        "",
        "```sh",
        report["command"],
        "```",
        "",
        _row(head),
        _row([":---", *["---:"] * (len(head) - 1)]),
        *(_row(cells(report, name)) for name in report["variants"]),
        "",
        _explain_columns(report),
        "",
        *(f"![{caption}]({name}.svg)\n" for name, caption in plots),
        "## To keep in mind",
        "",
        *(f"* {caveat}" for caveat in caveats(report)),
        "",
    ]
    return "\n".join(lines)


def _heading(names: list[str]) -> str:
    """The variants' names; the first one if there are many."""
    return ", ".join(names) if len(names) <= 5 else f"{names[0]} and {len(names) - 1} others"


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"


def _describe(report: dict[str, Any]) -> str:
    """The variants, data, settings and hardware."""
    data, machine, model = report["data"], report["hardware"], report["model"]
    searched = any(len(variant["lrs"]) > 1 for variant in report["variants"].values())
    threads, jobs = machine["threads"], machine["jobs"]
    return (
        f"{len(report['variants'])} variants{', each at the best of its learning rates,' if searched else ''} on "
        f"{data['modality']}: {data['source']} ({data['licence']}; {data['tokens']['train']:,} training tokens). "
        "All variants have, unless their name says otherwise: "
        f"{model['n_layer']} blocks of {model['n_embd']} coordinates, {model['n_head']} heads, "
        f"T = {model['block_size']}, {model['positions']} positions. {_optimizer(report)} "
        f"Every run is {report['steps']:,} steps of {report['batch_size']} windows of {model['block_size']}, "
        f"{report['tokens']:,} tokens in the same order for every variant, with {seeds(report)} "
        f"({', '.join(map(str, report['seeds']))}). "
        f"Hardware: {machine['accelerator'] or machine['processor']}, {machine['cores']} cores, {jobs} "
        f"run{'s' if jobs > 1 else ''} at a time with {threads or 'all'} thread{'' if threads == 1 else 's'}"
        f"{' each' if jobs > 1 else ''}, {machine['precision']}, PyTorch {machine['torch']}."
    )


def _optimizer(report: dict[str, Any]) -> str:
    """The optimizer, in a sentence."""
    if optimizer(report) == "AdamW":
        return "Optimizer: AdamW."
    rate = report["optimizer"]["adamw_lr"]
    return (
        "Optimizer: Muon for the matrices of the blocks, with the learning rate in the table; AdamW for all other "
        f"parameters, with a learning rate of {rate:g}."
    )


def _explain_columns(report: dict[str, Any]) -> str:
    """The columns of the table."""
    interleaved = "rounds in which the variants take turns, in one process, on the same batches"
    over = interleaved if report["steps_timed"] == "interleaved" else "the seeds, timed in the runs themselves"
    return (
        f"Final loss: mean ± standard deviation over the seeds, on {_final_windows(report)}. "
        "Difference: to the baseline with the same seed, with its 95 % interval by Student's t and the p-value "
        "of the paired t test, corrected for the number of variants by Holm's method. In equal seconds: the same with "
        "the variant's loss at the time at which the baseline's run ends, by the step times. "
        "Speed-up in steps: the baseline's steps to its final loss over the variant's "
        "steps to the same loss, geometric mean over the seeds with a 95 % bootstrap interval. In seconds: the same, "
        f"divided by the median step time. {_decayed(report)}"
        f"Step time: a variant's over the baseline's, median and quartiles over {over}."
    )


def _final_windows(report: dict[str, Any]) -> str:
    """What final losses and curves were measured on. Old reports have both from the windows of the evaluations."""
    curves, windows, of = report["eval_windows"], report.get("final_windows"), report.get("val_windows")
    if windows is None or of is None:
        return f"{curves} windows of the validation split"
    part = f"{windows:,} of the {of:,} windows of the validation split"
    final = f"the whole validation split, {of:,} windows" if windows == of else part
    return (
        f"{final}. Curves, speed-ups in steps and seconds and losses in equal seconds are on the {curves:,} windows of "
        "the evaluations"
    )


def _decayed(report: dict[str, Any]) -> str:
    """How the speed-up by the longer baseline is computed."""
    if not has_longer(report):
        return ""
    times = report["longer"]["times"]
    return (
        "Speed-up, decayed: how many times as long the baseline has to train to end where the variant ends. The "
        f"baseline was trained {times} times as long as well, with the same learning rate; between its two final "
        "losses, loss against the logarithm of steps is taken as a straight line. A variant that ends below the "
        f"longer run counts as {times}. "
    )


def caveats(report: dict[str, Any]) -> Iterator[str]:
    """What a reader must know to judge the numbers, a sentence or two each."""
    n, variants, baseline = len(report["seeds"]), report["variants"], report["baseline"]
    if n == 1:
        yield "There is one seed, so there are no intervals and no p-values, and no claim can rest on it."
    elif n < FEW_SEEDS:
        yield f"The intervals are over {n} seeds, and rough: a bootstrap over so few is too narrow."
    yield (
        f"There is an evaluation every {report['eval_every']:,} steps. Between two of them the loss is interpolated "
        "linearly. A loss counts as reached the first time."
    )
    yield (
        "Learning rates fall until the end of the run. A variant that reaches the baseline's final loss early does so "
        "while its rate is still high; a shorter run would reach that loss sooner."
    )
    if report.get("longer", {}).get("times") == 1:
        yield "The baseline was not trained longer (`--longer 1`), so there is no speed-up between decayed runs."
    short = [name for name, v in variants.items() if v["speedup"]["steps"]["reached"] < len(v["runs"])]
    if short:
        counts = ", ".join(f"{name} ({variants[name]['speedup']['steps']['reached']} of {n})" for name in short)
        yield (
            f"Not every seed reached the baseline's final loss: {counts}. For the others the speed-up is to the "
            "variant's final loss instead: the baseline's steps to it over the variant's, which is below 1."
        )
    if any(len(v["lrs"]) > 1 for v in variants.values()):
        seed = report.get("sweep_seed")
        which = f"{seed}, which is not one of the seeds reported"
        if seed is None:  # a report of old
            which = f"{report['seeds'][0]}, which is one of the seeds reported"
        yield f"Learning rates were chosen by the final validation loss with seed {which}. {_tried(report)}"
    if report.get("rates_from"):
        yield f"The learning rate of each variant is the one that the comparison in `{report['rates_from']}` chose."
    if edge := [name for name, v in variants.items() if v["lr_at_edge"]]:
        yield (
            f"The best learning rate of {', '.join(edge)} is the lowest or highest that was tried; there may be a "
            "better one beyond it."
        )
    if (left_out := report.get("val_windows", 0) - report.get("final_windows", 0)) > 0:
        yield (
            f"Final losses leave out {left_out:,} of the {report['val_windows']:,} windows of the validation split, by "
            "`--final-windows` or because all would take more than a tenth of a run's time."
        )
    if report["steps_timed"] != "interleaved":
        yield "Step times were taken from the runs, which ran at different times beside other work, so they are rough."
    partial = [name for name, v in variants.items() if len(v["runs"]) < n]
    if partial:
        yield f"Some seeds of {', '.join(partial)} failed; comparisons are over the seeds that {baseline} has too."
    for entry in report["failed"]:
        yield f"Failed: {entry['run']}: {entry['why']}."


def _tried(report: dict[str, Any]) -> str:
    """The final loss at each learning rate tried, in nats per token."""
    parts = []
    for name, variant in report["variants"].items():
        losses = [f"{lr}: {'diverged' if loss is None else f'{loss:.4f}'}" for lr, loss in variant["lrs"].items()]
        parts.append(f"{name} {', '.join(losses)}")
    return f"In nats per token, {'; '.join(parts)}."
