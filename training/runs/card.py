"""The model card: README.md in a checkpoint, in the form of the Hugging Face Hub."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import CheckpointInfo
from waveletgpt.models.gpt import GPT
from waveletgpt.training.config import as_flags, training_command
from waveletgpt.training.modalities.base import load_training_modality

CREATIVE_COMMONS = re.compile(r"CC(?:0(?:[ -]1\.0)?|[ -]BY(?:-NC)?(?:-SA|-ND)?[ -]\d\.\d)", re.IGNORECASE)
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}
NOT_PORTABLE = {"model", "data_digests", "resume", "allow_changes", "modality", "command"}
"""What a run.json holds that config.json has elsewhere, or that would differ in a resumed run."""


def model_card(gpt: GPT, info: CheckpointInfo, row: dict[str, Any], evaluation: str = "") -> str:
    """Describe a checkpoint in Markdown: what it is, how it was trained, its data and their licence.

    Args:
        gpt: The model.
        info: Its `config.json`. What `trained_on` does not tell is left out.
        row: The last line of its `metrics.jsonl`.
        evaluation: Sections on what was measured after training.
    """
    model, trained_on = info.model, info.trained_on
    layer = "without a layer that mixes over time (the baseline)"
    if model.mixer != "none":
        layer = f"with a causal layer that mixes over time, `{model.mixer}`, {model.place}"
    return f"""{_head(info)}
# {info.modality}: {model.mixer}

A GPT decoder for {info.modality} {layer}
(WaveletGPT, [arXiv 2409.12924](https://arxiv.org/abs/2409.12924)).

| | |
|---|---|
| blocks, coordinates, heads, hidden | {model.n_layer}, {model.n_embd}, {model.n_head}, {model.n_hidden} |
| context | {model.block_size} tokens, {model.positions} positions |
| wavelet levels | {"none" if model.mixer == "none" else model.n_levels} |
| parameters | {gpt.n_parameters():,} |

**Data.** {trained_on["source"]}.
**Licence of the data.** {trained_on["licence"]}. These weights are shared under it, with credit to its makers.

The weights are stored in half precision. `config.json` holds the tokenizer and all settings of the model,
`metrics.jsonl` the course of the training.

{_training(info, row)}{evaluation}"""


def hub_license(licence: str) -> tuple[str, str | None]:
    """The licence's identifier on the Hub. It is `other`, with a name beside it, unless `licence` is one of Creative
    Commons alone.
    """
    found = CREATIVE_COMMONS.findall(licence)
    if len(found) != 1 or not licence.startswith(found[0]):
        return "other", licence
    identifier = found[0].lower().replace(" ", "-")
    return ("cc0-1.0" if identifier == "cc0" else identifier), None


def portable_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in a run.json for a checkpoint's `trained_on`, without the paths of this machine."""
    kept = {name: value for name, value in settings.items() if name not in NOT_PORTABLE}
    if kept.get("start_from"):
        kept["start_from"] = "/".join(Path(kept["start_from"]).parts[-2:])
    return kept | {"data": f"data/{Path(kept['data']).name}", "out": f"runs/{Path(kept['out']).name}"}


def _head(info: CheckpointInfo) -> str:
    """The metadata that the Hub reads, in YAML. A JSON string is a YAML string."""
    identifier, name = hub_license(info.trained_on["licence"])
    pipeline_tag = load_training_modality(info.modality).pipeline_tag
    lines = [
        "---",
        f"license: {identifier}",
        *([f"license_name: {_quoted(name)}"] if name else []),
        "library_name: waveletgpt",
        *([f"pipeline_tag: {pipeline_tag}"] if pipeline_tag else []),
        *("tags:", "- waveletgpt", "- wavelets", f"- {info.modality}"),
        *("datasets:", f"- {_quoted(info.trained_on['source'])}"),
        "---\n",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _training(info: CheckpointInfo, row: dict[str, Any]) -> str:
    """The section on how the model was trained."""
    settings, report = info.trained_on.get("settings", {}), info.trained_on["report"]
    start = info.trained_on.get("started_from")
    facts = {
        "steps, tokens, seed": f"{info.steps:,}, {info.tokens:,}, {info.seed}",
        **({"begun with": _begun(start)} if start else {}),
        "training loss": f"{in_unit(row['train_loss'], report):.4f} {report}, since the evaluation before",
        "validation loss": f"{in_unit(row['val_loss'], report):.4f} {report}",
        "time": f"{row['seconds'] / 3600:.3g} hours in training steps",
    }
    if settings:
        facts["validation loss"] += f", over {settings['eval_windows']} windows"
        facts["batch"] = f"{settings['batch_size']} windows"
        facts["optimizer"] = _optimizer(settings["optimizer"])
    if hardware := info.trained_on.get("hardware"):
        facts["hardware"] = hardware
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    commands = [_command(info, stage) for stage in stages(info)]
    return f"## Training\n\n| | |\n|---|---|\n{table}\n{''.join(commands)}"


def stages(info: CheckpointInfo) -> list[dict[str, Any]]:
    """`trained_on` of the runs that trained a checkpoint one after the other: the first one's first."""
    found, one = list[dict[str, Any]](), info.trained_on
    while one:
        found.insert(0, one)
        one = one.get("started_from", {})
    return found


def _begun(start: dict[str, Any]) -> str:
    """The checkpoint that a run began with."""
    data = f" on {start['source']}" if "source" in start else ""
    return (
        f"a checkpoint of {start['steps']:,} steps and {start['tokens']:,} tokens{data}, which are counted above "
        f"(sha256 {start['weights_sha256'][:16]})"
    )


def _optimizer(settings: dict[str, Any]) -> str:
    name = settings.get("name", "adamw")  # older runs do not name it
    others = f", AdamW {settings['adamw_lr']:g} beside it" if name == "muon" else ""
    return (
        f"{OPTIMIZERS[name]}, peak learning rate {settings['lr']:g}{others}; {settings['warmup_steps']} steps warm-up"
    )


def _command(info: CheckpointInfo, stage: dict[str, Any]) -> str:
    """The command of one of the `stages`, and the settings that were changed on the way."""
    settings = stage.get("settings")
    if not settings:
        return ""
    model = asdict(info.model) | {"block_size": stage.get("block_size", info.model.block_size)}
    command = training_command({**settings, "model": model})
    changes = [change for change in settings.get("changes", []) if change["step"] < info.steps]
    before = "".join(f"\nUntil step {change['step']:,}: `{as_flags(change['before'])}`.\n" for change in changes)
    return f"\n```sh\n{command}\n```\n{before}"
