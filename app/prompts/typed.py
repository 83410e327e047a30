"""Text as people type it, in the characters that a model knows."""

import re
import string
import unicodedata
from collections.abc import Collection, Iterator
from typing import NamedTuple

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.characters import BOM, unify_line_ends

SPELLINGS = {
    **dict.fromkeys("“”„‟«»″", ('"', "'")),
    **dict.fromkeys("‘’‚‛‹›′`´", ("'",)),
    **dict.fromkeys("‐‑‒–−⁃", ("-",)),
    **dict.fromkeys("—―", ("--", "-")),
    **dict.fromkeys("\v\f\x85\u2028\u2029", ("\n",)),
    "⁄": ("/",),
    "×": ("x",),
    "æ": ("ae",),
    "œ": ("oe",),
    "ß": ("ss",),
    "ø": ("o",),
    "ł": ("l",),
    "đ": ("d",),
    "ð": ("d",),
    "þ": ("th",),
    "ı": ("i",),
}
"""How to write characters that Unicode does not decompose, best first. Capitals follow their small letters."""
SHOWN = 5  # changes or unknown characters that a message lists
LISTED = 40  # characters of an alphabet that a message lists, beside letters and digits
GROUPS = {
    "letters": string.ascii_letters,
    "the letters a to z": string.ascii_lowercase,
    "the letters A to Z": string.ascii_uppercase,
    "digits": string.digits,
    "spaces": " ",
    "line breaks": "\n",
}


class Rewritten(NamedTuple):
    """A text in a model's alphabet."""

    text: str
    note: str
    """The changes that can be seen, such as "“ ” became \\", é became e"; empty if there are none."""


def in_alphabet(text: str, alphabet: str, replacement: str | None = None) -> Rewritten:
    """Rewrite `text` in the characters of `alphabet`. A text that is in the alphabet stays as it is.

    Line ends become line feeds, and a byte order mark is dropped. A character outside the alphabet is written with
    its nearest equivalent: typographic quotes and dashes as typewriters have them, ligatures and accents by their plain
    letters, any space as a space, a letter in the other case if the alphabet has only that. Marks that are not seen
    are dropped. If the alphabet has no punctuation at all, each run of it becomes a space.

    Args:
        text: as it was typed or read.
        alphabet: what the model knows.
        replacement: stands for what has no equivalent; None refuses that.

    Raises:
        InputError: a character has no equivalent. Says which, where, and what the model knows.
    """
    known = set(alphabet)
    if set(text) <= known:
        return Rewritten(text, "")
    text = unicodedata.normalize("NFC", unify_line_ends(text.removeprefix(BOM)))
    changes: dict[str, str] = {}
    unknown = []
    for character in dict.fromkeys(text):
        if character not in known:
            written = next((way for way in _spellings(character, known) if known.issuperset(way)), replacement)
            if written is None:
                unknown.append(character)
            else:
                changes[character] = written
    if unknown:
        raise InputError(_refusal(text, unknown, alphabet))
    written = text.translate({ord(character): way for character, way in changes.items()})
    if any(_is_punctuation(character) and way == " " for character, way in changes.items()):
        written = re.sub(" {2,}", " ", written)
    return Rewritten(written, _note(changes))


def _spellings(character: str, known: Collection[str]) -> Iterator[str]:
    """Ways to write a character, best first."""
    yield from SPELLINGS.get(character, ())
    apart = unicodedata.normalize("NFKD", character)  # letters and their accents apart
    plain = "".join(one for one in apart if unicodedata.category(one) != "Mn")
    typewritten = "".join(_typewritten(one) for one in plain)
    yield from (apart, plain, typewritten, typewritten.lower(), typewritten.upper())
    if character.isspace():
        yield " "
    if unicodedata.category(character) == "Cf":  # formats, which are not seen by themselves
        yield ""
    if _is_punctuation(character) and not any(map(_is_punctuation, known)):
        yield " "


def _typewritten(character: str) -> str:
    small = SPELLINGS.get(character.lower(), (character,))[0]
    return small.capitalize() if character.isupper() else small


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _note(changes: dict[str, str]) -> str:
    """The changes in words. Spaces, and what is not seen, are left out."""
    groups: dict[str, list[str]] = {}
    for character, written in changes.items():
        if written == character.lower():
            groups["capitals became small letters"] = []
        elif written == character.upper():
            groups["small letters became capitals"] = []
        elif written and not character.isspace():
            groups.setdefault(f"became {'a space' if written == ' ' else written}", []).append(_shown(character))
    parts = [" ".join([*characters, what]) for what, characters in groups.items()]
    return ", ".join(parts[:SHOWN]) + ", and more" * (len(parts) > SHOWN)


def _refusal(text: str, unknown: list[str], alphabet: str) -> str:
    shown = " ".join(map(_shown, unknown[:SHOWN])) + " and more" * (len(unknown) > SHOWN)
    before = text[: text.index(unknown[0])]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    where = f"line {line}, character {column}" if "\n" in text else f"character {column}"
    first = "" if len(unknown) == 1 else "the first is "
    return f"the model does not know {shown} ({first}{where}); it knows {in_words(alphabet)}"


def in_words(alphabet: str) -> str:
    """What an alphabet holds, such as "letters, digits, spaces, line breaks and ! , . ?"."""
    left, parts = dict.fromkeys(alphabet), []
    for name, characters in GROUPS.items():
        if left.keys() >= set(characters):
            parts.append(name)
            left = {character: None for character in left if character not in characters}
    others = [_shown(character) for character in left]
    if others:
        more = len(others) - LISTED
        parts.append(" ".join(others[:LISTED]) + (f" ... ({more:,} more)" if more > 0 else ""))
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _shown(character: str) -> str:
    """The character as it was typed, or its code point if it is not seen."""
    return character if character.isprintable() and not character.isspace() else f"U+{ord(character):04X}"
