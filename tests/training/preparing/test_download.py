import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.download import download

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves CONTENT in the manner of different servers, and notes where each answer began."""

    content = CONTENT
    breaks_after: int | None = None
    """The number of bytes after which the connection breaks."""
    headers: dict[str, str]
    has_ranges = True
    length = True
    starts: list[int]
    """The first byte of each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/text%208.zip?download=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, start = self.server, 0
        wanted, version = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and server.has_ranges and version in server.headers.values():
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        server.starts.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.length:
            self.send_header("Content-Length", str(len(server.content) - start))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(server.content[start : server.breaks_after])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.starts, server.headers = [], {"ETag": '"one"'}
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_under_its_name(server: Server, tmp_path: Path) -> None:
    path = download(server.url, tmp_path / "download")
    assert path.name == "text 8.zip"
    assert path.read_bytes() == CONTENT
    assert download(server.url, tmp_path / "download") == path
    assert server.starts == [0]  # a complete file is not downloaded again


@pytest.mark.parametrize("version", [{"ETag": '"one"'}, {"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}])
def test_a_download_that_stopped_continues_from_there(server: Server, tmp_path: Path, version: dict) -> None:
    server.headers = version
    for server.breaks_after in (4000, 7000):
        with pytest.raises(InputError, match=f"ended after {server.breaks_after} of {len(CONTENT)} bytes"):
            download(server.url, tmp_path)
    server.breaks_after = None
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 4000, 7000]


def test_one_that_was_killed_before_its_end_was_noticed_is_taken(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 4000
    with pytest.raises(InputError):
        download(server.url, tmp_path)
    (tmp_path / "part").write_bytes(CONTENT)
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"ETag": '"two"'}},
        {"has_ranges": False},
        {"content": CONTENT[::-1] + b"more", "headers": {"ETag": '"two"'}},
    ],
)
def test_another_version_is_downloaded_from_its_beginning(
    server: Server, tmp_path: Path, change: dict[str, Any]
) -> None:
    server.breaks_after = 4000
    with pytest.raises(InputError, match="ended after"):
        download(server.url, tmp_path)
    server.breaks_after = None
    for name, value in change.items():
        setattr(server, name, value)
    assert download(server.url, tmp_path).read_bytes() == server.content
    assert server.starts == [0, 0]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_parts_of_what_has_no_version_are_not_joined(server: Server, tmp_path: Path, headers: dict[str, str]) -> None:
    server.headers, server.breaks_after = headers, 4000
    with pytest.raises(InputError, match="ended after"):
        download(server.url, tmp_path)
    server.breaks_after = None
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 0]


def test_a_length_need_not_be_known(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert download(server.url, tmp_path).read_bytes() == CONTENT


def test_what_is_left_of_another_url_is_not_used(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 4000
    with pytest.raises(InputError):
        download(server.url.replace("some", "another"), tmp_path)
    server.breaks_after = None
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 0]


@pytest.mark.parametrize("note", ["", "{", "[]", "5", json.dumps({"url": 5})])
def test_a_damaged_note_means_to_begin_anew(server: Server, tmp_path: Path, note: str) -> None:
    server.breaks_after = 4000
    with pytest.raises(InputError):
        download(server.url, tmp_path)
    (tmp_path / "download.json").write_text(note)
    server.breaks_after = None
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 0]


def test_what_cannot_be_downloaded_is_reported_in_one_line(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1/a.zip", "http://exa mple/a.zip", "http://[/a.zip", "http:///"):
        with pytest.raises(InputError, match="cannot be downloaded") as refusal:
            download(url, tmp_path / "download")
        assert len(str(refusal.value).splitlines()) == 1
