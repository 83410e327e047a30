"""Small pieces of HTML for the page. Text from outside is escaped here."""

import html
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from waveletgpt.app.checkpoints import CheckpointEntry
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Results, are_paired, divergence, shared_tokens
from waveletgpt.common.units import in_unit, in_words
from waveletgpt.models.muting import muted_in_words
from waveletgpt.models.wavelet import KINDS

ABOUT = """<header class="about"><h1>waveletgpt</h1>
<p>Small models that write text, sound and piano music. Card A and card B are two of them, with the same prompt and the
same random numbers: at first a plain GPT beside its twin that also sees moving averages of the past
(<a href="https://arxiv.org/abs/2409.12924" target="_blank" rel="noopener">WaveletGPT</a>).</p></header>"""

# gr.HTML runs its value through a template engine, which must not see these characters of a text.
TEMPLATE_CHARACTERS = {ord(character): f"&#{ord(character)};" for character in "$`{}\\"}


def escape(text: str) -> str:
    """HTML that shows `text` as it is."""
    return html.escape(text).translate(TEMPLATE_CHARACTERS)


def sheet(prompt: str, new: str, shared: int = 0, levels: Sequence[int] | None = None, *, writing: bool = False) -> str:
    """A text on a sheet: the prompt, then what was written.

    Args:
        prompt: may be empty.
        new: what was written.
        shared: number of its first characters that the other card has too.
        levels: a colour for each of its characters, see `drawing.heat`; None for none.
        writing: whether to show a cursor at the end.
    """
    cursor = '<span class="cursor"></span>' if writing else ""
    marks = levels if levels is not None else [0] * len(new)
    both, own = _runs(new[:shared], marks), _runs(new[shared:], marks[shared:])
    return (
        f'<div class="sheet"><div><span class="prompt">{escape(prompt)}</span>'
        f'<span class="new"><span class="shared">{both}</span>{own}</span>{cursor}</div></div>'
    )


def _runs(text: str, levels: Sequence[int]) -> str:
    """A span for each run of characters of one level above 0."""
    parts, begin = [], 0
    for level, run in groupby(levels[: len(text)]):
        end = begin + len([*run])
        part = escape(text[begin:end])
        parts.append(f'<span class="s{level}">{part}</span>' if level else part)
        begin = end
    return "".join(parts)


def blank() -> str:
    """An empty view."""
    return '<div class="blank"></div>'


def about(entry: CheckpointEntry | None, modality: AppModality[Any], mute: str = "") -> str:
    """A line about a checkpoint, its losses in a tooltip. `mute` names the time scales that its result is without."""
    if entry is None:
        return '<p class="about-line">No checkpoint chosen.</p>'
    info = entry.info
    name = info.model.mixer
    layer = "plain GPT" if entry.is_baseline else f"GPT with {name}{' wavelets' * (name in KINDS)}"
    if info.model.attention_mixer != "none":
        layer += f" {info.model.place}"
    trained = f"{in_words(info.tokens)} {modality.tokens}" if info.tokens else f"{info.steps:,} steps"
    parts = [f"trained on {trained}"]
    if source := info.trained_on.get("source"):
        parts.append(f"from {source}")
    loss = ""
    if "val" in info.losses:
        value = in_unit(info.losses["val"], modality.loss_unit)
        loss = f' title="validation loss {value:.3f} {modality.loss_unit}"'
    silent = f" · <b>muted: {escape(muted_in_words(mute))}</b>" if mute else ""
    return f'<p class="about-line"{loss}><b>{escape(layer)}</b> · {escape(", ".join(parts))}{silent}</p>'


def losses(results: Results, modality: AppModality[Any], *, scoring: bool = False) -> str:
    """What each model thinks of what both wrote, in words; the figures are in tooltips.

    `scoring` says that the other model's loss will follow.
    """
    lines = []
    for name, other, result in zip("AB", "BA", results, strict=True):
        if result is None or not result.completion.written:
            continue
        own = in_unit(result.completion.nats_per_token, modality.loss_unit)
        title = f"{name} by its own model: {own:.2f} {modality.loss_unit}"
        if result.nats_by_other is None:
            choices, token = math.exp(result.completion.nats_per_token), modality.token
            what = f"as unsure of each {token} as of one among {choices:.1f} equally likely ones"
            lines.append(f'<span title="{title}">{name}: {"…" if scoring else what}</span>')
            continue
        by_other = in_unit(result.nats_by_other, modality.loss_unit)
        title += f", by {other}'s model: {by_other:.2f}"
        easier = "easier" if own < by_other else "harder"
        lines.append(
            f'<span title="{title}">{name} finds its own {modality.name} {easier} to predict than {other} does</span>'
        )
    return f'<p class="note losses">{" · ".join(lines)}</p>'


def agreement(results: Results, modality: AppModality[Any]) -> str:
    """A sentence on how far the two cards are the same."""
    pair = [result for result in results if result]
    if len(pair) < 2 or not all(result.completion.written for result in pair) or not are_paired(results):
        return '<p class="note agreement"></p>'
    first, shared = divergence(results), shared_tokens(results)
    same = modality.count_in_words(shared, pair[0].loaded.tokenizer)
    if first is None:
        ongoing = any(result.completion.ongoing for result in pair)
        message = f"A and B agree so far, for {same}." if ongoing else f"A and B wrote the same {same}."
    elif first == 0:
        message = f"A and B choose differently from the first {modality.token} on."
    else:
        message = f"A and B agree for the first {same}, then choose differently."
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
    return (
        f'<p class="note">There is no {escape(name)} checkpoint in {escape(directory)}. To train one: '
        f"{_training(name)}, then <code>waveletgpt app --checkpoints runs</code>.</p>"
    )


def no_runs(name: str, directory: str) -> str:
    """What stands in place of a chart if there are no runs of a kind of data."""
    return f'<p class="note">There is no run of {name} in {escape(directory)}. To begin one: {_training(name)}.</p>'


def _training(name: str) -> str:
    """The commands that train a model on data which need no download."""
    prepare = f"python training/prepare_{name}.py --source builtin --out data/{name}"
    train = f"python training/train_{name}.py --data data/{name} --out runs/{name}"
    return f"<code>{escape(prepare)}</code>, then <code>{escape(train)}</code>"
