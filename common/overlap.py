"""The longest run that something shares with training data, found in a small index of these.

Data are cut into units (`tokenizers.units`): words, intervals between notes, waves. The index keeps 8 bits of each.

Shapes: U units of the training data, N of a query.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from waveletgpt.common.errors import InputError

Units = NDArray[np.uint8]

ANCHOR = 4
"""Units that are looked up at once. Shorter runs are not told from chance: 8 bits of each agree in one of 2^32."""
LENGTHS = (25, 50, 100, 200, 400, 800)
"""Units of the held-out passages that are compared."""
PASSAGES = 200
"""Held-out passages of each length."""
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Run:
    """The longest run of a query that the training data have too."""

    begin: int
    """Its first unit in the query."""
    length: int
    """In units, at least `ANCHOR`."""
    place: int
    """Its first unit in the training data."""


@dataclass(frozen=True)
class Index:
    """8 bits of each unit of some training data."""

    units: Units
    """(U,)"""
    begins: NDArray[np.int64]
    """(P,) first unit of each file."""
    names: list[str]
    """Of the P files."""
    usual: list[list[float]]
    """For each length of `LENGTHS`: the quantiles of the longest runs of held-out passages of so many units."""
    modality: str
    sha256: str
    """Digests of the training data, as checkpoints keep them, joined by commas."""

    @cached_property
    def _pairs(self) -> NDArray[np.uint16]:
        """Two units from each place on as one number, (U - ANCHOR + 1,)."""
        wide = self.units[: len(self.units) - ANCHOR + 2].astype(np.uint16)
        return wide[:-1] | wide[1:] << np.uint16(8)

    def longest_run(self, query: Units) -> Run | None:
        """The longest run, the first one in a tie; None if there is none of `ANCHOR` units."""
        if min(len(query), len(self.units)) < ANCHOR:
            return None
        keys = _keys(query, np.arange(len(query) - ANCHOR + 1))
        known = np.zeros(1 << 16, bool)
        known[keys & 0xFFFF] = True
        places = np.flatnonzero(known[self._pairs])  # most places are ruled out by the first two units
        mine, order = _keys(self.units, places), np.argsort(keys, kind="stable")
        first, last = (np.searchsorted(keys[order], mine, side) for side in ("left", "right"))
        counts = last - first
        begins = order[np.repeat(first, counts) + _within(counts)]
        places = np.repeat(places, counts)
        if not len(places):
            return None
        by_diagonal = np.lexsort((begins, places - begins))
        begins, places = begins[by_diagonal], places[by_diagonal]
        goes_on = (np.diff(begins, prepend=-2) == 1) & (np.diff(places, prepend=-2) == 1)
        starts = np.flatnonzero(~goes_on)
        lengths = np.diff(starts, append=len(begins)) + ANCHOR - 1
        longest = np.flatnonzero(lengths == lengths.max())
        best = longest[np.argmin(begins[starts[longest]])]
        return Run(int(begins[starts[best]]), int(lengths[best]), int(places[starts[best]]))

    def where(self, place: int) -> tuple[str, float]:
        """The file of a unit, and the part of that file before it."""
        file = int(np.searchsorted(self.begins, place, side="right")) - 1
        end = self.begins[file + 1] if file + 1 < len(self.begins) else len(self.units)
        return self.names[file], (place - int(self.begins[file])) / max(1, int(end) - int(self.begins[file]))

    def usual_run(self, units: int) -> list[float]:
        """What held-out passages of about so many units share: the 10th, 50th and 90th percentile."""
        nearest = int(np.argmin([abs(np.log(length / max(1, units))) for length in LENGTHS]))
        return self.usual[nearest]


def build_index(
    pieces: Sequence[tuple[str, Units]],
    held_out: Units,
    modality: str,
    sha256: str,
    advance: Callable[[int], None] = lambda _: None,
) -> Index:
    """Index training data.

    Args:
        pieces: names and units of the files.
        held_out: units of other data of the same kind.
        modality: kind of data.
        sha256: digests of the training data, joined by commas.
        advance: called with 1 after each held-out passage.
    """
    lengths = [len(units) for _, units in pieces]
    begins = np.cumsum([0, *lengths[:-1]])
    units = np.concatenate([units for _, units in pieces])
    index = Index(units, begins, [name for name, _ in pieces], [], modality, sha256)
    random, usual = np.random.default_rng(0), []
    for length in LENGTHS:
        runs = []
        for start in random.integers(0, max(1, len(held_out) - length), PASSAGES):
            run = index.longest_run(held_out[start : start + length])
            runs.append(run.length if run else ANCHOR - 1)
            advance(1)
        usual.append([float(value) for value in np.quantile(runs, QUANTILES)])
    return Index(units, begins, index.names, usual, modality, sha256)


def to_tensors(index: Index) -> tuple[dict[str, NDArray[np.uint8]], dict[str, str]]:
    """An index as the arrays and the metadata of a safetensors file."""
    facts = {"begins": index.begins.tolist(), "names": index.names, "usual": index.usual}
    packed = {"units": index.units.tobytes(), "facts": json.dumps(facts).encode()}
    tensors = {name: np.frombuffer(zlib.compress(data, 9), np.uint8) for name, data in packed.items()}
    return tensors, {"kind": "overlap", "modality": index.modality, "sha256": index.sha256}


def indexed_data(path: Path) -> list[str]:
    """The digests of the training data of an index; none if the file is no index."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            return str(metadata.get("sha256", "")).split(",") if metadata.get("kind") == "overlap" else []
    except (OSError, SafetensorError):
        return []


def read_index(path: Path) -> Index:
    """Read an index. Raises InputError."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            units, facts = (zlib.decompress(file.get_tensor(name).tobytes()) for name in ("units", "facts"))
        found = json.loads(facts)
        begins = np.array(found["begins"], np.int64)
        return Index(
            np.frombuffer(units, np.uint8),
            begins,
            found["names"],
            found["usual"],
            metadata["modality"],
            metadata["sha256"],
        )
    except (OSError, SafetensorError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as an index ({error}); make it with training/index_data.py") from None


def _keys(units: Units, places: NDArray[np.int64]) -> NDArray[np.uint32]:
    """`ANCHOR` units from each of `places` (P,) on as one number, (P,)."""
    keys = np.zeros(len(places), np.uint32)
    for i in range(ANCHOR):
        keys |= units[places + i].astype(np.uint32) << np.uint32(8 * i)
    return keys


def _within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... for each group of a size."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
