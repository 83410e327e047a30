"""What was made on this browser, newest first, as the browser keeps it."""

import time
from typing import Any

from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Results
from waveletgpt.app.web.display import word_of

LONGEST_HISTORY = 50


def remembered(history: Any, results: Results, modality: AppModality[Any]) -> list[dict[str, Any]]:
    """The history with these results on top."""
    word = word_of(results)
    title = modality.headline([result.recipe for result in results if result])
    entry = {"word": word, "title": title, "modality": modality.name, "time": int(time.time())}
    return [entry, *(one for one in entries_of(history) if one["word"] != word)][:LONGEST_HISTORY]


def made_in(modality: AppModality[Any], history: Any) -> list[dict[str, Any]]:
    """What was made in the tab of a kind of data."""
    return [one for one in entries_of(history) if one["modality"] == modality.name]


def entries_of(history: Any) -> list[dict[str, Any]]:
    """The entries of a history. The browser's storage may hold anything."""
    found = history if isinstance(history, list) else []
    names = ("word", "title", "modality")
    return [one for one in found if isinstance(one, dict) and all(isinstance(one.get(name), str) for name in names)]
