"""Write the API reference from the docstrings: `python docs/reference.py FOLDER`, or `make docs`."""

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

PACKAGES = ("models", "tokenizers", "training", "common")
NAMESPACES = ("tokenizers.audio", "tokenizers.piano")
"""Rooms without `__init__.py`. Like their folder `tokenizers`, pdoc finds them only after they are imported."""
DOCS = Path(__file__).resolve().parent


def write_reference(out: Path) -> None:
    """Write a page for `waveletgpt` and each module of `PACKAGES` into the folder `out`.

    A warning of pdoc is an error.
    """
    warnings.simplefilter("error", UserWarning)
    package = import_module("waveletgpt")
    for name in package.__all__:  # imported only on request
        setattr(package, name, getattr(package, name))
    for name in (*PACKAGES, *NAMESPACES):
        import_module(f"waveletgpt.{name}")
    package.__all__ = [*package.__all__, *PACKAGES]
    up = os.path.relpath(DOCS, out)
    guides = "".join(f"* [{page.stem}]({up}/{page.name})\n" for page in sorted(DOCS.glob("*.md")))
    package.__doc__ = f"{package.__doc__}\n## Guides\n\n{guides}"
    pdoc.render.configure(docformat="google", footer_text="waveletgpt")
    pdoc.pdoc("waveletgpt", output_directory=out)


def main() -> None:
    """Write the reference and print where its first page is."""
    out = Path(sys.argv[1])
    write_reference(out)
    print(out / "index.html")


if __name__ == "__main__":
    main()
