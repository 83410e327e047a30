"""A ready-made prompt: its name and its title."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from waveletgpt.common.errors import InputError


@dataclass(frozen=True)
class Example:
    """A ready-made prompt."""

    name: str
    """Stable, for links and commands: small letters, digits and hyphens."""
    title: str
    """What people see."""


E = TypeVar("E", bound=Example)


def find_example(examples: Sequence[E], name: str) -> E:
    """The example with this name. Raises InputError if there is none."""
    for example in examples:
        if example.name == name:
            return example
    names = ", ".join(example.name for example in examples)
    raise InputError(f"there is no example {name!r}; {f'choose one of {names}' if names else 'this kind has none'}")
