"""The prompt bar's values that make a result again, for results that were opened rather than generated here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.recipe import Recipe, unpack_ids
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.registry import Tokenizer


def panel_values(modality: AppModality[Any], recipes: Sequence[Recipe], tokenizer: Tokenizer) -> dict[str, Any]:
    """The settings of recipes, by their names in `Settings`; those of the first where cards differ.

    Args:
        modality: kind of data.
        recipes: at least one.
        tokenizer: that of the first one's checkpoint.
    """
    first, last = recipes[0], recipes[-1]
    sampling = first.sampling
    kept = modality.amount(len(_prompt_ids(modality, first, tokenizer)), tokenizer)
    return {
        "length": _length(modality, first.lengths[-1], tokenizer),
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        "variations": min(first.variation + 1, modality.most_variations),
        "paired": last.sampling.seed != sampling.seed + 1,
        "keep": min(max(kept, modality.keep.default), modality.keep.highest),
        "top_k": sampling.top_k or 0,
        "top_p": sampling.top_p or 1,
        "min_p": sampling.min_p or 0,
        "repetition_penalty": sampling.repetition_penalty,
    }


def _length(modality: AppModality[Any], count: int, tokenizer: Tokenizer) -> float:
    """A number of tokens in `length_unit`, within the bounds of the page: at a step of the slider if it can be."""
    extent, exact = modality.length_on_page, modality.amount(count, tokenizer) / modality.units_each
    near = round(round(exact / extent.step) * extent.step, 4)
    found = near if near and modality.tokens_for(near, tokenizer) == count else round(exact, 4)
    return min(max(found, extent.lowest), extent.highest)


def prompt_text(modality: AppModality[Any], recipe: Recipe, tokenizer: Tokenizer) -> str:
    """The text of a recipe's prompt; empty if there is none."""
    text: str = tokenizer.decode(_prompt_ids(modality, recipe, tokenizer))
    return text


def write_prompt(modality: AppModality[Any], recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> Path | None:
    """Write the prompt of a recipe to `folder` as a file; None if there is none.

    A person's own file comes back as far as the result began with it.
    """
    if recipe.example:
        return Path(modality.example_file(recipe.example, folder))
    if not recipe.ids:
        return None
    ids = unpack_ids(recipe.ids)
    stem = "-".join(re.findall(r"\w+", recipe.title))[:80] or "prompt"  # a title may hold anything
    path = folder / f"{stem}{modality.files[0]}"
    modality.write(Completion(ids, len(ids), 0), tokenizer, path)
    return path


def _prompt_ids(modality: AppModality[Any], recipe: Recipe, tokenizer: Tokenizer) -> Tensor:
    if recipe.example:
        return modality.example_ids(recipe.example, tokenizer)[-recipe.example_tokens :]
    return unpack_ids(recipe.ids) if recipe.ids else tokenizer.start[:0]
