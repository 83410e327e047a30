"""What each tab opens with: a finished pair of results. They ship as recipes with their ids.

`python docs/openings.py` makes them again, and a test checks them against the shipped checkpoints.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.recipe import Recipe, from_word, pack_ids, to_word, unpack_ids
from waveletgpt.app.results import Entries, Result, Results, recipe_entry, remade
from waveletgpt.app.scoring import cross_score
from waveletgpt.common.errors import InputError
from waveletgpt.common.files import write_text

FOLDER = Path(__file__).resolve().parent / "prompts"
PARTS = 16
"""Of a nat, to which the surprise at a token is rounded."""


def opening(modality: AppModality[Any], entries: Entries) -> Results:
    """The ready-made results of a kind of data; empty cards if their checkpoints are not here."""
    recipes = opening_recipes(modality, entries)
    if not recipes:
        return [None, None]
    content = _content(modality)
    stored = zip(recipes, content["ids"], content["surprise"], content["by_other"], strict=True)
    return [finished(remade(modality, entries, recipe), *values) for recipe, *values in stored]


def opening_recipes(modality: AppModality[Any], entries: Entries) -> list[Recipe]:
    """What `opening` is made from; empty if its checkpoints are not here. Loads no checkpoint."""
    try:
        recipes = [recipe for recipe in from_word(_content(modality)["recipe"]) if recipe]
        for recipe in recipes:
            recipe_entry(entries, recipe)
    except (OSError, InputError):
        return []
    return recipes


def _content(modality: AppModality[Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{modality.name}.json").read_text(encoding="utf-8"))
    return content


def finished(result: Result, word: str, surprise: str, by_other: str) -> Result:
    """A remade result with its new ids, as if it had been generated and scored."""
    nothing = result.completion
    own, other = (unpack_ids(one) / PARTS for one in (surprise, by_other))
    complete = replace(nothing, ids=torch.cat([nothing.ids, unpack_ids(word)]), surprise=own)
    return replace(result, completions=(complete,), by_other=other)


def write_opening(results: Results) -> None:
    """Store complete results as what their tab opens with."""
    *_, scored = cross_score(results)
    whole = [result for result in scored if result]
    content = {
        "recipe": to_word([result.recipe for result in whole]),
        "ids": [pack_ids(result.completion.new) for result in whole],
        "surprise": [_packed(result.completion.surprise) for result in whole],
        "by_other": [_packed(result.by_other) for result in whole],
    }
    write_text(FOLDER / f"{whole[0].plan.modality}.json", json.dumps(content, indent=1) + "\n")


def _packed(surprise: Tensor | None) -> str:
    return "" if surprise is None else pack_ids((PARTS * surprise).round().long())
