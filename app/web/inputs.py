"""The values of a tab's inputs, or of a call of its endpoint, checked before they are used.

Gradio's own checks are off: their messages neither name the setting nor fit in one line.
"""

from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, NamedTuple

from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.results import Request
from waveletgpt.common.errors import InputError
from waveletgpt.models.sampling import Sampling


class Inputs(NamedTuple):
    """One value, or one component, for each input of a tab. The names are those of the endpoint's arguments."""

    prompt: Any
    """Typed text, an object with the path of a file that gradio has checked, or None."""
    baseline: Any
    """Name of a checkpoint, or None."""
    wavelet: Any
    length: Any
    temperature: Any
    top_k: Any
    """0 for all tokens, as 1 is for top_p and 0 for min_p."""
    top_p: Any
    min_p: Any
    seed: Any
    keep: Any
    repetition_penalty: Any
    """1 for none."""

    def request(self, modality: AppModality[Any]) -> Request:
        """Convert the values. Raises InputError if one has a wrong type."""
        top_k, top_p, min_p = (self._number(name) for name in ("top_k", "top_p", "min_p"))
        sampling = Sampling(
            temperature=self._number("temperature"),
            top_k=self._whole("top_k") if top_k else None,
            top_p=None if top_p == 1 else top_p,
            min_p=min_p or None,
            repetition_penalty=self._number("repetition_penalty"),
            seed=self._whole("seed"),
        )
        return Request(
            prompt=self._file(modality) if modality.prompt.suffixes else self._name("prompt"),
            checkpoints=(self._name("baseline"), self._name("wavelet")),
            length=self._number("length"),
            keep=self._number("keep"),
            sampling=sampling,
        )

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{_flag(name)} is {_quoted(value)}; it must be a number")
        return value

    def _whole(self, name: str) -> int:
        value = self._number(name)
        if value != value // 1:
            raise InputError(f"{_flag(name)} is {value:g}; it must be a whole number")
        return int(value)

    def _name(self, name: str) -> str | None:
        value = getattr(self, name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name} is {_quoted(value)}; it must be text")
        return value

    def _file(self, modality: AppModality[Any]) -> Path | None:
        if self.prompt is None:
            return None
        path = self.prompt.get("path") if isinstance(self.prompt, dict) else None
        if not isinstance(path, str):
            suffixes = ", ".join(modality.prompt.suffixes)
            raise InputError(f"prompt is {_quoted(self.prompt)}; it must be a file ({suffixes})")
        return Path(path)


ENDPOINT_SIGNATURE = Signature(
    [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in ("self", *Inputs._fields)]
)
"""For the method that serves the endpoint: every field of `Inputs` as an optional argument."""


def _flag(name: str) -> str:
    """A setting's name as in messages of the models and on the command line."""
    return name.replace("_", "-")


def _quoted(value: Any) -> str:
    return "empty" if value is None else repr(value)[:80]
