"""What the server answers when something is wrong: one line, without its folders, and no traceback in its log."""

import asyncio
import errno
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.state_holder import SessionState

from waveletgpt.app.modalities import text
from waveletgpt.app.modalities.text import Text
from waveletgpt.app.serving import server
from waveletgpt.common.files import atomic_path

META = {"_type": "gradio.FileData"}
HERE = Path.cwd()


def call(page_url: str, name: str, data: Any, timeout: float = 60) -> tuple[int, str]:
    """Call an endpoint without a client. Returns the status and the error; "" if it is answered."""
    address = f"{page_url}gradio_api/call/{name}"
    answer = httpx.post(address, json={"data": data}, timeout=timeout)
    content = answer.json()
    if answer.status_code != 200:
        return answer.status_code, content.get("error") or content["detail"]
    last = httpx.get(f"{address}/{content['event_id']}", timeout=timeout).text.strip().rpartition("event: ")[2]
    kind, _, body = last.partition("\ndata: ")
    return 200, "" if kind == "complete" else json.loads(body)["error"]


TEXT = ["Hello", "text-haar", None, "", 50, 1, 0, 1, True, 100, 0, 1, 0, 1]
AUDIO = ["audio-haar", None, "", 0.1, 1, 0, 1, True, 1, 0, 1, 0, 1]


@pytest.mark.slow
def test_what_gradio_refuses_is_one_line_without_folders(page_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("x.wav", "/etc/passwd", "", "..", "a\0b", "x" * 5000, "http://127.0.0.1:1/x.wav"):
        for name, data in (
            ("generate_audio", [{"path": path, "meta": META}, *AUDIO]),
            ("score", ["a", "", {"path": path, "meta": META}]),
        ):
            assert call(page_url, name, data) == (200, server.NOT_READ)
    for data in ([], TEXT[:-1], [None]):
        assert call(page_url, "generate_text", data) == (200, server.NOT_READ)
    assert call(page_url, "generate_text", [*TEXT, 1, 2])[0] == 200
    told = capfd.readouterr().err
    assert "Traceback" not in told and str(HERE) not in told


@pytest.mark.slow
def test_the_page_s_functions_leave_one_line_when_they_are_called_by_hand(
    page_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    functions = httpx.get(f"{page_url}config").json()["dependencies"]
    private = [one for one in functions if one["api_visibility"] == "private" and one["backend_fn"]]
    assert len(private) > 50
    for number, (one, value) in enumerate(
        product(private, (None, ["x"], 1e300, {"path": "/etc/passwd", "meta": META}))
    ):
        call = {"fn_index": one["id"], "session_hash": f"by-hand-{number}", "data": [value] * len(one["inputs"])}
        call["event_data"] = value
        if one["queue"] is False:
            httpx.post(f"{page_url}gradio_api/run/predict", json=call)
        else:
            httpx.post(f"{page_url}gradio_api/queue/join", json=call)
            query = {"session_hash": call["session_hash"]}
            with httpx.stream("GET", f"{page_url}gradio_api/queue/data", params=query, timeout=60) as events:
                assert any("process_completed" in line for line in events.iter_lines())
    assert "Traceback" not in capfd.readouterr().err
    told = [line for line in caplog.messages if line.startswith("warning: ")]
    assert any("TypeError" in line and "handlers.py, line" in line for line in told)
    assert all(len(line.splitlines()) == 1 and str(HERE) not in line for line in told)


def test_components_that_stay_as_they_are_cost_nothing() -> None:
    with server.Page() as page:
        changed, same, kept = gr.Textbox(), gr.Slider(), gr.State()
        gr.Button().click(lambda: None, None, [same, changed, kept])
    function, state = next(iter(page.fns.values())), SessionState(page)

    def answered(returned: Any) -> list[Any]:
        with ThreadPoolExecutor(1) as thread:  # the browser's tests leave a loop in this one
            found: list[Any] = thread.submit(asyncio.run, page.postprocess_data(function, returned, state)).result()
        return found

    assert answered({changed: "new"}) == [gr.skip(), "new", None]
    assert state[same._id] is same  # gradio would have built it anew
    (slider, *others) = answered({same: gr.update(maximum=7), kept: 3})
    assert slider["maximum"] == 7 and others == [gr.skip(), None] and state[kept._id] == 3
    assert answered([1, "as a list", 4]) == [1, "as a list", None] and state[kept._id] == 4
    with pytest.raises(ValueError, match="not specified as output"):
        answered({gr.Textbox(): "elsewhere"})


def test_routes_that_fail_are_answered_with_one_line(
    page_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert call(page_url, "nowhere", []) == (
        400,
        "this request cannot be answered; /gradio_api/info lists those that can",
    )
    join = {"data": [], "fn_index": 9999, "session_hash": "x"}
    for answer in (
        httpx.post(f"{page_url}gradio_api/queue/join", json=join),
        httpx.post(f"{page_url}gradio_api/upload", files={"files": ("", b"x")}),
        httpx.get(f"{page_url}assets/{'x' * 5000}"),
    ):
        assert answer.status_code == 400 and "cannot be answered" in answer.json()["error"]
    broken = httpx.get(f"{page_url}gradio_api/call/generate_text/unknown").text
    assert broken.startswith("event: error\ndata: ") and "cannot be answered" in broken
    assert "Traceback" not in capfd.readouterr().err
    assert [len(line.splitlines()) for line in caplog.messages if line.startswith("warning: ")] == [1] * 5


def test_browsers_keep_the_scripts_and_nothing_else(page_url: str) -> None:
    page = httpx.get(page_url)
    (script, *_) = re.findall(r'src="[^"]*(/assets/[^"]+\.js)"', page.text)
    answer = httpx.get(page_url + script.lstrip("/"))
    assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert "immutable" not in page.headers.get("cache-control", "")
    assert "immutable" not in httpx.get(f"{page_url}assets/nothing.js").headers.get("cache-control", "")


def test_a_request_that_is_too_large_is_not_kept_in_memory(page_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST_BODY", 1 << 20)
    status, told = call(page_url, "generate_text", ["a" * (3 << 20), *TEXT[1:]])
    assert (status, told) == (413, "this request has 3 MB; send 1 MB at most")
    assert call(page_url, "generate_text", TEXT) == (200, "")


def test_a_long_text_is_refused_before_it_is_read(page_url: str, tmp_path: Path) -> None:
    long = "a " * text.LARGEST
    told = "the prompt has 2,097,152 characters; give 1,048,576 at most, such as its end"
    assert call(page_url, "generate_text", [long, *TEXT[1:]]) == (200, told)
    assert call(page_url, "score", ["text-haar", long, None]) == (200, told)
    path = tmp_path / "long.txt"
    path.write_text(long)
    with pytest.raises(server.InputError, match=r"long.txt: larger than 1 MB; give a shorter text, such as its end"):
        Text.read_prompt(None, path, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["generate_text", "generate_audio", "generate_music"])
def test_a_full_disk_is_one_line(
    name: str,
    page_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No writer finds room for its file, and no half of a file is left."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/secret")

    monkeypatch.setattr("waveletgpt.common.files._flush", full)
    data = {"generate_text": TEXT, "generate_audio": ["", *AUDIO], "generate_music": ["", "music-haar", *TEXT[2:]]}
    assert call(page_url, name, data[name]) == (200, server.NO_ROOM)
    assert "Traceback" not in capfd.readouterr().err
    assert any("a result was not written" in line for line in caplog.messages)
    monkeypatch.setattr("waveletgpt.common.files._flush", lambda _: None)
    monkeypatch.setattr(shutil, "copy2", full)  # gradio's copy of the file
    assert call(page_url, name, data[name])[1] in {"", server.NO_ROOM}


def test_nothing_is_left_of_a_file_without_room(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"), atomic_path(tmp_path / "a.wav") as partial:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not [*tmp_path.iterdir()]
