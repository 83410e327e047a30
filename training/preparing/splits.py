"""Splits: train, val and test."""

import random
from collections.abc import Iterable, Mapping

from waveletgpt.common.errors import InputError
from waveletgpt.training.data import SPLITS

HELD_OUT = 0.06
"""Fraction of the data in val, and in test."""


def split_by_size(sizes: Mapping[str, float], together: Iterable[frozenset[str]] = ()) -> dict[str, str]:
    """Split whole pieces 88/6/6 by size. The result depends on names and sizes only.

    Args:
        sizes: by name, in any unit (seconds, bytes).
        together: sets of names that go to the same split, such as excerpts of one recording.

    Returns:
        The split of each name.

    Raises:
        InputError: there are too few pieces for three splits, or `together` has a name that is not in `sizes`.
    """
    group_of = {name: frozenset([name]) for name in sizes}
    for group in together:
        unknown = group - set(sizes)
        if unknown:
            raise InputError(f"--keep-together names files that are not there: {', '.join(sorted(unknown))}")
        merged = frozenset().union(*(group_of[name] for name in group))
        group_of.update(dict.fromkeys(merged, merged))
    groups = sorted(set(group_of.values()), key=min)
    if len(groups) < len(SPLITS):
        raise InputError(f"{len(groups)} pieces cannot be divided into {', '.join(SPLITS)}; at least 3 are needed")
    random.Random(0).shuffle(groups)  # noqa: S311, not for security

    def size(group: frozenset[str]) -> float:
        return sum(sizes[name] for name in group)

    target = HELD_OUT * sum(sizes.values())
    splits, left = {}, groups
    for split, others in (("test", 2), ("val", 1)):
        # Take pieces in random order while they fit; at least the smallest one. Leave one for each other split.
        chosen: list[frozenset[str]] = []
        for group in left:
            if len(left) - len(chosen) > others and sum(map(size, chosen)) + size(group) <= target:
                chosen.append(group)
        chosen = chosen or [min(left, key=size)]
        left = [group for group in left if group not in chosen]
        splits.update({name: split for group in chosen for name in group})
    return splits | {name: "train" for group in left for name in group}


def split_by_position(lengths: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """By split, how much of each name it gets when all are joined: the first 90 % train, then 5 % val, 5 % test."""
    total = sum(lengths.values())
    bounds = {"train": (0, total * 90 // 100), "val": (total * 90 // 100, total * 95 // 100)}
    bounds["test"] = (total * 95 // 100, total)
    parts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    begin = 0
    for name, length in lengths.items():
        for split, (start, stop) in bounds.items():
            inside = min(stop, begin + length) - max(start, begin)
            if inside > 0:
                parts[split][name] = inside
        begin += length
    return parts
