"""Downloads that continue where they stopped."""

import http.client
import json
import shutil
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import write_text
from waveletgpt.common.progress import progress_bar

TIMEOUT_SECONDS = 60
BLOCK = 1 << 20  # bytes read at a time


def download(url: str, folder: Path) -> Path:
    """Download the file at `url` into `folder`, and return its path. A complete file is not downloaded again.

    A partial file is continued if the server can send the rest of the same version (Range and If-Range of RFC 9110).
    Otherwise the download starts again.

    Args:
        url: http(s).
        folder: only for this function's files; may not exist yet.

    Raises:
        InputError: the download failed. The part that arrived is kept.
    """
    note, part = folder / "download.json", folder / "part"
    try:
        target = folder / "file" / (Path(unquote(urlparse(url).path)).name or "download")
        known = _read_note(note)
        if known.get("url") != url:
            shutil.rmtree(folder, ignore_errors=True)
            target.parent.mkdir(parents=True)
            known = {}
        if target.exists():
            return target
        have = part.stat().st_size if part.exists() and known.get("version") else 0
        total = known.get("total") if have else None
        if not have or have != total:
            headers = {"Range": f"bytes={have}-", "If-Range": known["version"]} if have else {}
            request = urllib.request.Request(url, headers=headers)  # noqa: S310, http(s) only
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                have, total = _sent_range(response.headers)
                version = _version(response.headers)
                write_text(note, json.dumps({"url": url, "version": version, "total": total}))
                _receive(response, part, have, total)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise InputError(f"{url} cannot be downloaded: {error}") from None
    if total is not None and part.stat().st_size != total:
        raise InputError(f"{url} ended after {part.stat().st_size} of {total} bytes; run the same command again")
    part.replace(target)
    return target


def _read_note(note: Path) -> dict[str, Any]:
    """What was noted when the download began; empty if there was none."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _sent_range(headers: Message) -> tuple[int, int | None]:
    """The first byte that the server sends, and the length of the whole file, if known."""
    if content_range := headers.get("Content-Range"):  # "bytes 13-999/1000", the last may be *
        sent, _, total = content_range.removeprefix("bytes ").partition("/")
        return int(sent.partition("-")[0]), int(total) if total.isdecimal() else None
    length = headers.get("Content-Length")
    return 0, int(length) if length else None


def _version(headers: Message) -> str | None:
    """What identifies this version of the file on the server: a strong ETag, or its date."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _receive(response: http.client.HTTPResponse, part: Path, have: int, total: int | None) -> None:
    """Write the response to `part`, from byte `have` on."""
    with (
        part.open("r+b" if have else "wb") as file,
        progress_bar("downloading", total, unit="bytes", done=have) as advance,
    ):
        if file.seek(0, 2) < have:
            raise ValueError("the server sent another part than the one requested")
        file.truncate(have)
        file.seek(have)
        while block := response.read(BLOCK):
            file.write(block)
            advance(len(block))
