"""Writes licences.md: the licence of every package that waveletgpt installs. `make licences`."""

import re
import tomllib
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).with_name("licences.md")
PROJECT = tomllib.loads(PAGE.parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SHOWN = ("compare", "docs", "transformers", "dev")
LINES = [*PROJECT["dependencies"], *(line for extra in SHOWN for line in EXTRAS[extra])]
DIRECT = [needed for needed in map(Requirement, LINES) if needed.name != PROJECT["name"]]
HEADING = """\
# Licences of the dependencies

What waveletgpt and its tests install, and the licence that the metadata of each package tell. `make licences` wrote
this page, on Linux with CPython 3.11. Packages in bold are named in `pyproject.toml`; the others come with them.
waveletgpt holds no code of theirs: pip installs each from its authors. The extras `mcp`, `trackio` and `wandb`, which
are not listed, add mcp, trackio and wandb (MIT) with what these need.

| package | version | licence |
|---|---|---|
"""


def dependencies() -> dict[str, Distribution]:
    """The packages of `DIRECT`, and all that these need here, by name."""
    found: dict[str, Distribution] = {}
    waiting = [*DIRECT]
    while waiting:
        needed = waiting.pop()
        with suppress(PackageNotFoundError):  # optional, and not installed here
            package = found.setdefault(key(needed.name), distribution(needed.name))
            for line in package.requires or []:
                other = Requirement(line)
                extras = ("", *needed.extras)
                if key(other.name) not in found and (
                    not other.marker or any(other.marker.evaluate({"extra": extra}) for extra in extras)
                ):
                    waiting.append(other)
    return dict(sorted(found.items()))


def key(name: str) -> str:
    """A package's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(package: Distribution) -> str:
    """The licence that a package's metadata tell."""
    fields = package.metadata
    classifiers = [one.split(" :: ")[-1] for one in fields.get_all("Classifier", []) if one.startswith("License ::")]
    first = (fields.get("License") or "").strip().partition("\n")[0]
    told = fields.get("License-Expression") or ", ".join(classifiers) or first or _first_line(package)
    return re.sub(r"\s+", " ", told or "not told; see its home page").replace("|", "/")[:80]


def _first_line(package: Distribution) -> str:
    """The title of a package's licence file."""
    files = [file for file in package.files or [] if file.name.upper().startswith("LICEN")]
    return files[0].read_text("utf-8").strip().partition("\n")[0] if files else ""


def main() -> None:
    """Write the page."""
    direct = {key(needed.name) for needed in DIRECT}
    rows = [
        f"| {f'**{name}**' if name in direct else name} | {package.version.partition('+')[0]} | {licence(package)} |\n"
        for name, package in dependencies().items()
    ]
    PAGE.write_text(HEADING + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
