"""The kinds of data that the app generates. A new one is a file like `text.py` and a line here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from waveletgpt.common.errors import InputError

if TYPE_CHECKING:  # this file stays quick to import: the command line's --help needs it and nothing heavier
    from waveletgpt.app.modalities.base import Modality


class Entry(NamedTuple):
    """Where a modality is, and what its lengths are counted in."""

    module: str
    """Its `MODALITY` is a `waveletgpt.app.modalities.base.Modality`."""
    unit: str


MODALITIES: dict[str, Entry] = {
    "text": Entry("waveletgpt.app.modalities.text", "characters"),
    "audio": Entry("waveletgpt.app.modalities.audio", "seconds"),
    "music": Entry("waveletgpt.app.modalities.music", "events"),
}


def load_modality(name: str) -> "Modality[Any]":
    """Import a modality by its name. Raises InputError for a name that is not in `MODALITIES`."""
    if name not in MODALITIES:
        raise InputError(f"{name!r} is not a kind of data; choose one of {', '.join(MODALITIES)}")
    modality: Modality[Any] = import_module(MODALITIES[name].module).MODALITY
    return modality
