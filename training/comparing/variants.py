"""The variants of a comparison: a mixer, and the model settings in which a variant differs from the shared ones."""

import ast
from dataclasses import dataclass, fields, replace
from typing import Any

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPTConfig

GRAMMAR = "NAME or NAME:FIELD=VALUE[,FIELD=VALUE]"
FIXED = {
    "mixer": "the name before the colon is the mixer",
    "vocab_size": "the prepared data decide it",
    "block_size": "losses over windows of different lengths do not compare",
}
"""Fields that a variant cannot change, with the reason."""
FIELDS = [field.name for field in fields(GPTConfig) if field.name not in FIXED]


@dataclass(frozen=True)
class Variant:
    """A model to compare."""

    name: str
    """As on the command line: `haar`, or `none:n_layer=12,positions=learned`."""
    mixer: str
    changes: tuple[tuple[str, Any], ...] = ()
    """Fields of GPTConfig with their values."""
    flag: str = "--mixers"
    """The flag that named it, for messages."""

    @property
    def folder(self) -> str:
        """The name as a directory name that every file system accepts."""
        return self.name.replace(":", "-")

    def model(self, shared: GPTConfig) -> GPTConfig:
        """The model's settings; `shared` are those of all variants. Raises InputError if they are invalid."""
        try:
            return replace(shared, mixer=self.mixer, **dict(self.changes))
        except InputError as error:
            raise InputError(f"{self.flag} {self.name}: {error}") from None
        except TypeError:
            raise InputError(f"{self.flag} {self.name}: a value has the wrong type") from None


def parse_variant(text: str, flag: str = "--mixers") -> Variant:
    """Parse NAME or NAME:FIELD=VALUE[,FIELD=VALUE], given by `flag`.

    Values are Python literals; anything else is a string. They are not checked here.

    Raises:
        InputError: the syntax is wrong, or a field is unknown, fixed or set twice.
    """
    mixer, colon, rest = text.partition(":")
    changes: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise InputError(f"{flag} {text}: write {GRAMMAR}")
        if name in FIXED:
            raise InputError(f"{flag} {text}: a variant cannot change {name}; {FIXED[name]}")
        if name not in FIELDS:
            raise InputError(f"{flag} {text}: a model has no {name}; it has {', '.join(FIELDS)}")
        if name in changes:
            raise InputError(f"{flag} {text}: {name} is set twice")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[name] = value
    return Variant(text, mixer, tuple(changes.items()), flag)


def parse_variants(texts: tuple[str, ...], shared: GPTConfig) -> dict[str, Variant]:
    """Parse variants, and return them by name, in order.

    Raises:
        InputError: a variant is invalid, or two are the same model.
    """
    found: dict[GPTConfig, Variant] = {}
    for text in dict.fromkeys(texts):
        variant = parse_variant(text)
        same = found.setdefault(variant.model(shared), variant)
        if same is not variant:
            raise InputError(f"--mixers: {same.name} and {variant.name} are the same model; name one of them")
    return {variant.name: variant for variant in found.values()}
