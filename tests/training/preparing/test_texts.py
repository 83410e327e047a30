from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.texts import Part, batch_parts, split_into_parts

texts = st.text(st.sampled_from("a\r\n\ufeffé漢🎹 "), max_size=60)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@settings(deadline=None, max_examples=300)
@given(texts, st.integers(1, 30))
def test_a_text_in_parts_is_the_text(text: str, size: int) -> None:
    """A block may end inside a character, a line end or a byte order mark."""
    data = text.encode()
    parts = list(split_into_parts("a.txt", cut(data, size)))
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(part.text for part in parts) == expected
    assert b"".join(part.data for part in parts) == data
    assert [part.offset for part in parts] == [sum(len(p.data) for p in parts[:i]) for i in range(len(parts))]
    assert all(part.data for part in parts)


@settings(deadline=None, max_examples=300)
@given(texts, st.integers(0, 60), st.binary(min_size=1, max_size=4), st.integers(1, 30))
def test_the_first_byte_that_is_no_text_is_named(text: str, position: int, wrong: bytes, size: int) -> None:
    data = bytearray(text.encode())
    data[position : position + len(wrong)] = wrong
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        with pytest.raises(InputError, match=f"^not UTF-8 text: byte {error.start} cannot be read$"):
            [part.text for part in split_into_parts("a.txt", cut(bytes(data), size))]


def test_parts_are_about_as_long_as_blocks() -> None:
    for data in (b"a" * 10_000, b"\r" * 10_000, b"\x80" * 10_000, "漢".encode() * 3000):
        lengths = [len(part.data) for part in split_into_parts("a", cut(data, 100))]
        assert max(lengths) <= 104
        assert len(lengths) <= len(data) // 100 + 1


@given(st.lists(st.integers(1, 30)), st.integers(1, 50))
def test_batches_hold_all_parts_in_their_order(lengths: list[int], size: int) -> None:
    parts = [Part("a", i, bytes(length)) for i, length in enumerate(lengths)]
    found = list(batch_parts(parts, size))
    assert [part for batch in found for part in batch] == parts
    for batch in found:
        assert len(batch) == 1 or sum(len(part.data) for part in batch) <= size
    for batch, following in pairwise(found):
        assert sum(len(part.data) for part in [*batch, following[0]]) > size
