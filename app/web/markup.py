"""Small pieces of HTML for the page. Text from outside is escaped here."""

import html
from typing import Any

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Result, Results
from waveletgpt.common.units import in_unit

ABOUT = """<header class="about"><h1>waveletgpt</h1>
<p>Small GPTs that write text, sound and piano music, one token at a time. On the left a plain decoder; on the
right its twin with a causal wavelet layer between the blocks
(<a href="https://arxiv.org/abs/2409.12924" target="_blank" rel="noopener">WaveletGPT, arXiv 2409.12924</a>):
the same data, the same size, and here the same prompt, settings and random numbers.</p></header>"""

# gr.HTML runs its value through a template engine, which must not see these characters of a text.
TEMPLATE_CHARACTERS = {ord(character): f"&#{ord(character)};" for character in "$`{}\\"}


def escape(text: str) -> str:
    """HTML that shows `text` as it is."""
    return html.escape(text).translate(TEMPLATE_CHARACTERS)


def sheet(prompt: str, shared: str, own: str, *, writing: bool) -> str:
    """A text on a sheet: the prompt, then the tokens shared with the other column, then the others.

    `writing` shows a cursor at the end.
    """
    cursor = '<span class="cursor"></span>' if writing else ""
    return (
        f'<div class="sheet"><div><span class="prompt">{escape(prompt)}</span>'
        f'<span class="shared">{escape(shared)}</span>{escape(own)}{cursor}</div></div>'
    )


def card(entry: CheckpointEntry | None, modality: AppModality[Any]) -> str:
    """A line about a checkpoint."""
    if entry is None:
        return '<p class="card">No checkpoint chosen.</p>'
    info, parts = entry.info, []
    if "val" in info.losses:
        loss = in_unit(info.losses["val"], modality.loss_unit)
        parts.append(f"validation {loss:.3f} {modality.loss_unit}")
    parts.append(f"{info.steps:,} steps")
    if source := info.trained_on.get("source"):
        parts.append(f"on {source}")
    layer = "plain" if entry.is_baseline else info.model.mixer
    return f'<p class="card"><b>{escape(layer)}</b> · {escape(" · ".join(parts))}</p>'


def metrics(result: Result, modality: AppModality[Any], *, scoring: bool = False) -> str:
    """A line with the number of tokens, the loss by the model itself and by the other model, and the speed.

    `scoring` says that the other model's loss will follow.
    """
    completion = result.completion
    count = f"{completion.written:,}" if completion.done else f"{completion.written:,} of {completion.wanted:,}"
    parts = [f"{count} {modality.tokens}"]
    if completion.written:
        loss = f"{in_unit(completion.nats_per_token, modality.loss_unit):.2f} {modality.loss_unit}"
        if result.nats_by_other is not None:
            loss += f" (by the other model: {in_unit(result.nats_by_other, modality.loss_unit):.2f})"
        elif scoring:
            loss += " (by the other model: …)"
        parts.append(loss)
        parts.append(f"{completion.tokens_per_second:,.0f} tokens/s")
    return f'<p class="metrics">{escape(" · ".join(parts))}</p>'


def agreement(results: Results, modality: AppModality[Any]) -> str:
    """A sentence on how far the two columns are the same."""
    pair = [result for result in results if result]
    if len(pair) < 2 or not all(result.completion.written for result in pair):
        message = ""
    elif not pair[0].paired:
        message = "The two models have different vocabularies, so that what they choose cannot be compared."
    elif pair[0].first_divergence is None:
        same = modality.count_in_words(pair[0].shared, pair[0].loaded.tokenizer)
        ongoing = any(result.completion.ongoing for result in pair)
        message = f"The two agree so far, for {same}." if ongoing else f"The two wrote the same {same}."
    elif pair[0].first_divergence == 0:
        message = f"The two choose differently from the first {modality.tokens.removesuffix('s')} on."
    else:
        same = modality.count_in_words(pair[0].first_divergence, pair[0].loaded.tokenizer)
        message = f"The two agree for the first {same}, then choose differently."
    return f'<p class="note agreement">{escape(message)}</p>'


def note(text: str, *, wrong: bool = False) -> str:
    """The line under the buttons: progress, or an error if `wrong`."""
    if wrong:
        return f'<p class="note wrong" role="alert">{escape(text)}</p>'
    return f'<p class="note" role="status">{escape(text)}</p>'


def no_reports(directory: str) -> str:
    """The only line of the last tab if there are no reports."""
    compare = "python training/compare.py --data data/text --out runs/compare --mixers none haar --seeds 0 1 2"
    return (
        f'<p class="note">There is no comparison in {escape(directory)}. To make one: '
        f"<code>{escape(compare)}</code>, then <code>waveletgpt app --results runs</code>.</p>"
    )


def no_checkpoints(name: str, directory: str) -> str:
    """The only line of a tab if there are no checkpoints."""
    prepare = f"python training/prepare_{name}.py --source builtin --out data/{name}"
    train = f"python training/train_{name}.py --data data/{name} --out runs/{name}"
    return (
        f'<p class="note">There is no {escape(name)} checkpoint in {escape(directory)}. To train one: '
        f"<code>{escape(prepare)}</code>, then <code>{escape(train)}</code>, "
        "then <code>waveletgpt app --checkpoints runs</code>.</p>"
    )
