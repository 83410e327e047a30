"""waveletgpt: small GPTs with a causal wavelet layer between their blocks, for text, raw audio and piano music.

    from waveletgpt import load

    result = load("text-learnable").generate("It was a dark and stormy night, and ", length=300)

Nothing heavy is imported before `load` is asked for, so the command line starts at once.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waveletgpt.pretrained import Generated, Pretrained, Score, load

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():  # in the source tree, the other packages lie beside this one
    __path__.append(str(_root))

__all__ = ["Generated", "Pretrained", "Score", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("waveletgpt.pretrained"), name)
    raise AttributeError(f"module 'waveletgpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
