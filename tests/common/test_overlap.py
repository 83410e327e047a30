"""The longest run that something shares with training data, against a slow search."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from waveletgpt.common.errors import InputError
from waveletgpt.common.overlap import ANCHOR, LENGTHS, Index, Run, build_index, indexed_data, read_index, to_tensors

UNITS = st.lists(st.integers(0, 2), min_size=1, max_size=40)


def slowly(query: list[int], data: list[int]) -> int:
    """Length of the longest common run."""
    return max(
        (
            n
            for n in range(min(len(query), len(data)) + 1)
            for i in range(len(query) - n + 1)
            if found(query[i : i + n], data)
        ),
        default=0,
    )


def found(part: list[int], data: list[int]) -> bool:
    return any(data[j : j + len(part)] == part for j in range(len(data) - len(part) + 1))


def index(*pieces: list[int]) -> Index:
    named = [(f"piece {i}", np.array(piece, np.uint8)) for i, piece in enumerate(pieces)]
    return build_index(named, np.array([0] * 50, np.uint8), "text", "digest")


@settings(deadline=None, max_examples=60)
@given(UNITS, UNITS)
def test_the_longest_run_is_that_of_a_slow_search(query: list[int], data: list[int]) -> None:
    units = np.array(data, np.uint8)
    run = Index(units, np.array([0]), ["a"], [], "text", "").longest_run(np.array(query, np.uint8))
    expected = slowly(query, data)
    assert (run.length if run else 0) == (expected if expected >= ANCHOR else 0)
    if run:
        assert data[run.place : run.place + run.length] == query[run.begin : run.begin + run.length]


def test_a_run_is_found_in_its_file() -> None:
    found = index([9] * 10, [1, 2, 3, 4, 5, 6, 7, 8] + [9] * 8)
    run = found.longest_run(np.array([0, 0, 3, 4, 5, 6, 7, 0], np.uint8))
    assert run == Run(begin=2, length=5, place=12)
    assert found.where(12) == ("piece 1", 2 / 16)


def test_usual_runs_are_those_of_held_out_passages() -> None:
    found = index([0] * 30 + [1, 2, 3])
    assert found.usual_run(25) == [25, 25, 25]
    assert len(found.usual) == len(LENGTHS) and found.usual_run(10**6) == found.usual[-1]


def test_an_index_survives_its_file_and_damage_is_one_line(tmp_path: Path) -> None:
    path, whole = tmp_path / "seen.safetensors", index([1, 2, 3, 4, 5, 6])
    tensors, metadata = to_tensors(whole)
    save_file(tensors, path, metadata)
    again = read_index(path)
    assert again.units.tolist() == whole.units.tolist() and again.names == whole.names and again.usual == whole.usual
    assert indexed_data(path) == ["digest"] == [again.sha256] and again.where(0) == ("piece 0", 0)
    data = path.read_bytes()
    for damaged in (b"", data[:50], data[:-9], data.replace(b'"units"', b'"unitz"')):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"make it with training/index_data\.py"):
            read_index(path)
    path.write_bytes(b"junk")
    assert indexed_data(path) == []
