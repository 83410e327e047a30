"""What holds for every input, however damaged: it is read, or refused with one line for people."""

import re

INNER = re.compile(
    r"Traceback|0x[0-9a-f]{6}|site-packages|\bErrno\b|\b[A-Z]\w+(?:Error|Exception)\b|__\w+__|NoneType|object at"
    r"|keyword|\bdict\b|\btuple\b|libsndfile|soundfile|symusic|miditok|numpy|deserializ|Header[A-Z]|gradio(?!_api)"
    r"|Internal Server"
)
"""Words of libraries and of the interpreter."""
LONGEST = 600


class BrokenPromiseError(AssertionError):
    """The input was neither read sanely nor refused as it must be."""


def check(holds: object, what: object) -> None:
    """Raise BrokenPromiseError unless `holds`."""
    if not holds:
        raise BrokenPromiseError(str(what)[:1000])


def check_refusal(message: str, *hidden: str) -> None:
    """Check that a refusal is one line in this project's words.

    Args:
        message: the refusal.
        hidden: what it may not contain, such as the server's folders.
    """
    check(message.strip() and len(message.splitlines()) == 1, f"not one line: {message!r}")
    check(len(message) <= LONGEST, f"{len(message)} characters long: {message!r}")
    check(not (found := INNER.search(message)), f"inner words {found and found[0]!r}: {message!r}")
    for word in hidden:
        check(word not in message, f"shows {word}: {message!r}")
