"""Texts of any size in parts of a few megabytes, each of which can be read and encoded on its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from waveletgpt.common.errors import InputError

BOM = "\ufeff"


@dataclass(frozen=True)
class Part:
    """Bytes of a text in UTF-8, cut between characters and not within a line end."""

    file: str
    offset: int
    """Where in the file it begins."""
    data: bytes
    ending: str = ""
    """What follows it in the prepared text, before the next file."""

    @property
    def text(self) -> str:
        """The characters, with \\n for every line end and no byte order mark. Raises InputError if it is not UTF-8."""
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text: byte {self.offset + error.start} cannot be read") from None
        if not self.offset:
            text = text.removeprefix(BOM)
        return text.replace("\r\n", "\n").replace("\r", "\n")


def parts_of(file: str, blocks: Iterable[bytes]) -> Iterator[Part]:
    """The bytes of a file, which come in blocks, as parts of about their lengths."""
    offset, rest = 0, b""
    for block in blocks:
        data = rest + block
        end = _last_character(data)
        rest = data[end:]
        if end:
            yield Part(file, offset, data[:end])
            offset += end
    if rest:
        yield Part(file, offset, rest)


def batches(parts: Iterable[Part], size: int) -> Iterator[list[Part]]:
    """`parts` in groups of at most `size` bytes, or of one: small files are worked on together."""
    batch: list[Part] = []
    held = 0
    for part in parts:
        if batch and held + len(part.data) > size:
            yield batch
            batch, held = [], 0
        batch.append(part)
        held += len(part.data)
    if batch:
        yield batch


def _last_character(data: bytes) -> int:
    """Where the last character of `data` begins, which may not be whole, or the line end that it closes."""
    end = len(data) - 1
    # A character has at most three bytes after its first; where there are more, none of them is well placed.
    end = next((at for at in range(end, max(end - 4, -1), -1) if data[at] & 0xC0 != 0x80), end)
    if data[max(end - 1, 0) : end + 1] == b"\r\n":
        end -= 1
    return end
