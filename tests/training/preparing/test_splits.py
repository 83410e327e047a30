import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.splits import split_by_position, split_by_size

sizes = st.lists(st.one_of(st.floats(0, 1000), st.integers(0, 3)), min_size=3, max_size=60)


def held(splits: dict[str, str], parts: dict[str, float], split: str) -> float:
    return sum(size for name, size in parts.items() if splits[name] == split)


@settings(deadline=None)
@given(sizes)
def test_every_piece_is_in_one_split_and_no_split_is_empty(lengths: list[float]) -> None:
    """The sizes are arbitrary: one piece may outweigh all others, or all may be 0."""
    parts = {f"piece {i}": length for i, length in enumerate(lengths)}
    splits = split_by_size(parts)
    assert splits.keys() == parts.keys()
    assert set(splits.values()) == {"train", "val", "test"}


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.floats(1, 5), min_size=60, max_size=200))
def test_val_and_test_hold_6_percent_each(lengths: list[float]) -> None:
    parts = {str(i): length for i, length in enumerate(lengths)}
    splits = split_by_size(parts)
    for split in ("val", "test"):
        part = held(splits, parts, split) / sum(lengths)
        assert 0.06 - 5 / sum(lengths) <= part <= 0.06 + 1e-9


def test_one_long_piece_among_short_ones_trains() -> None:
    splits = split_by_size({"long": 1000, "a": 1, "b": 1, "c": 1})
    assert splits["long"] == "train"


def test_the_split_depends_on_names_and_sizes_alone() -> None:
    parts = {str(i): float(i % 7 + 1) for i in range(40)}
    backwards = dict(reversed(parts.items()))
    assert split_by_size(parts) == split_by_size(backwards)


def test_excerpts_of_one_recording_stay_together() -> None:
    parts = {str(i): 1.0 for i in range(60)}
    groups = [frozenset({"1", "2", "3"}), frozenset({"3", "4"}), frozenset({"10", "50"})]
    splits = split_by_size(parts, groups)
    assert len({splits[name] for name in "1234"}) == 1  # piece 3 is in two groups and joins them
    assert splits["10"] == splits["50"]
    assert splits.keys() == parts.keys()


def test_too_few_pieces_are_refused() -> None:
    for parts in ({}, {"a": 1.0}, {"a": 1.0, "b": 1.0}):
        with pytest.raises(InputError, match="at least 3"):
            split_by_size(parts)
    with pytest.raises(InputError, match="2 pieces"):
        split_by_size({"a": 1.0, "b": 1.0, "c": 1.0}, [frozenset("ab")])


def test_an_unknown_name_to_keep_together_is_refused() -> None:
    with pytest.raises(InputError, match="--keep-together names files that are not there: x, y"):
        split_by_size({"a": 1.0, "b": 1.0, "c": 1.0}, [frozenset("axy")])


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=30))
def test_by_position_the_row_is_cut_at_90_and_95_percent(lengths: list[int]) -> None:
    row = [(name, i) for name, length in enumerate(lengths) for i in range(length)]
    parts = split_by_position({str(name): length for name, length in enumerate(lengths)})
    start = 0
    for split, percent in (("train", 90), ("val", 95), ("test", 100)):
        held = row[start : len(row) * percent // 100]
        assert parts[split] == {str(name): sum(n == name for n, _ in held) for name in sorted({n for n, _ in held})}
        start += len(held)
