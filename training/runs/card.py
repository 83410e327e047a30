"""The model card: README.md in a checkpoint."""

from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import CheckpointInfo
from waveletgpt.models.gpt import GPT
from waveletgpt.training.config import TrainConfig


def model_card(gpt: GPT, info: CheckpointInfo, config: TrainConfig) -> str:
    """Describe a checkpoint in Markdown: what it is, the data it was trained on and their licence."""
    model, report = info.model, str(info.trained_on["report"])
    layer = "nothing (the baseline)" if model.mixer == "none" else f"a causal wavelet layer (`{model.mixer}`)"
    return f"""# {info.modality}: {model.mixer}

A GPT decoder for {info.modality} with {layer} between its blocks
(WaveletGPT, [arXiv 2409.12924](https://arxiv.org/abs/2409.12924)).

| | |
|---|---|
| blocks, coordinates, heads, hidden | {model.n_layer}, {model.n_embd}, {model.n_head}, {model.n_hidden} |
| context | {model.block_size} tokens, {model.positions} positions |
| wavelet levels | {"none" if model.mixer == "none" else model.n_levels} |
| parameters | {gpt.n_parameters():,} |
| trained for | {info.steps:,} steps of {config.batch_size} windows, {info.tokens:,} tokens, seed {info.seed} |
| training loss | {in_unit(info.losses["train"], report):.4f} {report} |
| validation loss | {in_unit(info.losses["val"], report):.4f} {report}, over {config.eval_windows} windows |

**Data.** {info.trained_on["source"]}.
**Licence of the data.** {info.trained_on["licence"]}. These weights are shared under it, with credit to its makers.

The weights are stored in half precision. `config.json` holds the tokenizer and all settings of the model,
`metrics.jsonl` the course of the training.
"""
