"""Damages bytes and JSON values as bad disks, cut transfers and people do. The same generator gives the same damage."""

import json
from random import Random
from typing import Any

BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES = (
    *(None, True, False, 0, -0.0, -1, 1, 2, 7, 64, 1000, 0.5, 1.5, 1e18, 1e308, -1e308),
    *(2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -(10**30), 10**400),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "x", "0", "none", "../../etc/passwd", "/etc/passwd", "a\nb", "a\0b", "é€😀", "\ud800", "x" * 5000),
    *([], [[]], [1, 2, 3], ["x"], {}, {"x": 1}, {"path": "x"}),
)
"""Values of every type that JSON has, and of those that only Python's JSON has."""


def damaged(data: bytes, random: Random) -> bytes:
    """`data` with one to four changes: bytes changed, removed, doubled or added, numbers overwritten, or cut off."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at, length = random.randrange(len(content) + 1), random.choice((1, 1, 2, 4, 16, 256))
        match random.randrange(9):
            case 0:
                content[at : at + 1] = [random.randrange(256)]
            case 1:
                content[at : at + 1] = [random.choice(BYTES)]
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = random.randbytes(length)
            case 4:
                content[at:at] = content[at : at + length]
            case 5:
                start = random.randrange(len(content) + 1)
                content[at : at + length] = content[start : start + length]
            case 6:
                size = random.choice((2, 4))
                number = random.choice(NUMBERS) % 256**size
                content[at : at + size] = number.to_bytes(size, random.choice(("big", "little")))
            case 7:
                content[at : at + length] = bytes([random.choice(BYTES)]) * length
            case _:
                del content[at:]
    return bytes(content)


def damaged_value(value: Any, random: Random) -> Any:
    """A copy of a JSON value in which something is replaced, removed, added or nested."""
    if random.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return replaced(value, random)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    copy, key = (dict(value) if isinstance(value, dict) else list(value)), random.choice(keys)
    how = random.random()
    if how < 0.1:
        del copy[key]
    elif how < 0.15 and isinstance(copy, dict):
        copy[random.choice(("x", "", "seed", "kind"))] = copy[key]
    else:
        copy[key] = damaged_value(copy[key], random)
    return copy


def replaced(value: Any, random: Random) -> Any:
    """Another value: a near one, one of another type, or a deep nest."""
    if random.random() < 0.3 and isinstance(value, int | float):
        return random.choice((value + 1, value - 1, -value, value * 2, value * 10**6, value / 2, str(value)))
    if random.random() < 0.02:
        nest: Any = value
        for _ in range(500):
            nest = [nest]
        return nest
    return random.choice(VALUES)


def json_bytes(value: Any) -> bytes:
    """JSON as Python writes it, NaN included. Lone surrogates become escapes."""
    return json.dumps(value).encode()
