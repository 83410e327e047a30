"""Kinds of data: one record for each. Tokenizers, training and app find everything about a kind through its record.

docs/modalities.md explains how to add one. This module imports no heavy package, so `waveletgpt --help` stays fast.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from waveletgpt.common.errors import InputError, quoted


@dataclass(frozen=True)
class Modality:
    """A kind of data. Its code is in three files: one in tokenizers/, training/modalities/ and app/modalities/ each."""

    name: str
    """Stored in config.json and dataset.json. Also names the two files in modalities/, the tab and the endpoint."""
    tokenizer: str
    """File in tokenizers/ and class in that file, such as "characters:CharacterTokenizer"."""
    unit: str
    """Unit of lengths that people choose, in the plural: characters, seconds, events."""
    tokens: str
    """What tokens are called, in the plural: characters, samples, events."""
    loss_unit: str
    """Unit in which losses are shown: "bits per ..." or "nats per ..."."""
    temperature: float
    """Default temperature."""
    top_p: float | None = None
    """Default top-p; None keeps all tokens."""
    min_p: float | None = None
    """Default min-p; None keeps all tokens."""
    package: str = "waveletgpt"
    """Package that contains tokenizers/, training/modalities/ and app/modalities/ with this kind's files."""

    @property
    def tokenizer_kind(self) -> str:
        """The tokenizer's "kind" in config.json and dataset.json, which is the name of its file."""
        return self.tokenizer.partition(":")[0]

    def tokenizer_class(self) -> type:
        """Import the tokenizer's class."""
        file, _, name = self.tokenizer.partition(":")
        found: type = getattr(import_module(f"{self.package}.tokenizers.{file}"), name)
        return found

    def module(self, folder: str) -> ModuleType:
        """Import this kind's file in a folder such as "app/modalities"."""
        return import_module(f"{self.package}.{folder.replace('/', '.')}.{self.name}")


TEXT = Modality(
    name="text",
    tokenizer="characters:CharacterTokenizer",
    unit="characters",
    tokens="characters",
    loss_unit="bits per character",
    temperature=0.8,
)
AUDIO = Modality(
    name="audio",
    tokenizer="mulaw:MuLawTokenizer",
    unit="seconds",
    tokens="samples",
    loss_unit="bits per sample",
    temperature=0.85,
)
MUSIC = Modality(
    name="music",
    tokenizer="midi:MidiTokenizer",
    unit="events",
    tokens="events",
    loss_unit="nats per event",
    temperature=1.0,
)

MODALITIES = {modality.name: modality for modality in (TEXT, AUDIO, MUSIC)}


def find_modality(name: str) -> Modality:
    """The record with this name. Raises InputError if there is none."""
    if name not in MODALITIES:
        raise InputError(f"{quoted(name)} is not a kind of data; choose one of {', '.join(MODALITIES)}")
    return MODALITIES[name]
