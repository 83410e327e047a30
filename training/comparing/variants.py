"""What a comparison is between: a mixer by name, and fields of the model's configuration that are other than shared."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.models.mixers import MIXERS

GRAMMAR = "NAME or NAME:FIELD=VALUE[,FIELD=VALUE]"
FIXED = {
    "mixer": "the name before the colon is the mixer",
    "vocab_size": "the prepared data decide it",
    "block_size": "losses over windows of different lengths do not compare",
}
"""Fields that a variant may not change, and why."""
WORDS: dict[Any, dict[str, Any]] = {bool: {"true": True, "false": False}, type(None): {"none": None}}


@dataclass(frozen=True)
class Variant:
    """A model to compare."""

    name: str
    """As it was written: `haar`, or `none:n_layer=12,positions=learned`."""
    mixer: str
    changes: tuple[tuple[str, Any], ...] = ()
    """Fields of GPTConfig and their values."""

    @property
    def folder(self) -> str:
        """The name as a folder's, on any file system."""
        return self.name.replace(":", "-")

    def model(self, shared: GPTConfig) -> GPTConfig:
        """Its configuration, all else being as in `shared`. InputError if the model cannot be so."""
        try:
            return replace(shared, mixer=self.mixer, **dict(self.changes))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None


def parse_variant(text: str) -> Variant:
    """The variant that NAME or NAME:FIELD=VALUE[,FIELD=VALUE] writes; InputError if there is none of the kind."""
    mixer, colon, rest = text.partition(":")
    if mixer not in MIXERS:
        raise InputError(f"--mixers holds {mixer or repr(text)}; known are {', '.join(MIXERS)}")
    changes: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise InputError(f"--mixers holds {text}; write {GRAMMAR}")
        if name in changes:
            raise InputError(f"--mixers holds {text}, which sets {name} twice")
        changes[name] = field_value(name, value, text)
    return Variant(text, mixer, tuple(changes.items()))


def parse_variants(texts: tuple[str, ...], shared: GPTConfig) -> dict[str, Variant]:
    """The variants by name, in their order. InputError if one cannot be, or two are the same model."""
    found: dict[GPTConfig, Variant] = {}
    for text in dict.fromkeys(texts):
        variant = parse_variant(text)
        same = found.setdefault(variant.model(shared), variant)
        if same is not variant:
            raise InputError(
                f"--mixers holds {same.name} and {variant.name}, which are the same model; name one of them"
            )
    return {variant.name: variant for variant in found.values()}


def field_value(name: str, value: str, text: str) -> Any:
    """What `value` is as the field `name` of GPTConfig; `text` is the variant that is being read."""
    known = [f.name for f in fields(GPTConfig) if f.name not in FIXED]
    if name in FIXED:
        raise InputError(f"--mixers holds {text}, but a variant cannot change {name}: {FIXED[name]}")
    if name not in known:
        raise InputError(
            f"--mixers holds {text}, but a model has no {name or 'field without a name'}; it has {', '.join(known)}"
        )
    kind = get_type_hints(GPTConfig)[name]
    for read in readers(kind):
        try:
            return read(value)
        except ValueError:
            continue
    raise InputError(f"--mixers holds {text}, but {name} cannot be {value!r}; it takes {described(kind)}")


def readers(kind: Any) -> list[Callable[[str], Any]]:
    """Functions that read a value of a type, with ValueError where they cannot; none for a type not known here."""
    if get_origin(kind) in (Union, UnionType):
        return [read for part in get_args(kind) for read in readers(part)]
    if get_origin(kind) is Literal:
        return [partial(one_of, {str(option): option for option in get_args(kind)})]
    if kind in WORDS:
        return [partial(one_of, WORDS[kind])]
    return [kind] if kind in (int, float, str) else []


def one_of(options: dict[str, Any], text: str) -> Any:
    """The option that `text` names; ValueError if it names none."""
    if text not in options:
        raise ValueError(text)
    return options[text]


def described(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) in (Union, UnionType, Literal):
        return " or ".join(described(part) if isinstance(part, type) else str(part) for part in get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}
    return words.get(kind, "nothing that can be written here")
