"""Work that nobody reads, sessions that are forgotten, logins, limits and the end of the app.

Fails if gradio changes what `Visitors` needs of it: the addresses of streams, the id of a call, its sessions.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from ports import unused_port

from waveletgpt.app import streaming
from waveletgpt.app.access import Limits
from waveletgpt.app.serving import visitors
from waveletgpt.app.web.page import open_page
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate

LONG = ["", "text-baseline", "text-haar", "", 2000, 1, 0, 1, True, 100, 0, 1, 0, 1]
SHORT = [*LONG[:4], 50, *LONG[5:]]


@pytest.fixture(scope="module")
def page(tiny_checkpoints: Path) -> Iterator[gr.Blocks]:
    """A running page with two places in each line."""
    limits = Limits(places=2, max_length={"text": 2000, "audio": 1}, max_variations=2, max_upload=1, max_duration=5)
    page = open_page(tiny_checkpoints, "127.0.0.1", unused_port(), limits=limits, block=False)
    yield page
    page.close()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Tiny models write less than a thousand tokens a second. Holds the time of the last step."""
    last = [0.0]

    def slow(*arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(*arguments, **settings):
            time.sleep(0.001)
            last[0] = time.monotonic()
            yield step

    monkeypatch.setattr(streaming, "generate", slow)
    return last


def call(page: gr.Blocks, data: list[Any], **body: Any) -> str:
    """Call /generate_text; returns the address of the stream of its answers."""
    address = f"{page.local_url}gradio_api/call/generate_text"
    answer = httpx.post(address, json={"data": data, **body}, timeout=60)
    return f"{address}/{answer.json()['event_id']}"


def writers() -> int:
    return sum(thread.name == "writer" for thread in threading.enumerate())


def wait_until_idle() -> float:
    """Seconds until nothing is written any more."""
    begun = time.monotonic()
    while writers() and time.monotonic() - begun < 60:
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.parametrize("body", [{}, {"session_hash": "somebody"}])
def test_a_call_whose_answer_is_never_fetched_does_not_begin(
    page: gr.Blocks, slowly: list[float], monkeypatch: pytest.MonkeyPatch, body: dict[str, str]
) -> None:
    monkeypatch.setattr(visitors, "OPENING", 1.0)
    unread = [call(page, LONG, **body) for _ in range(8)]
    assert "event: complete" in httpx.get(call(page, SHORT), timeout=60).text  # eight calls hold no place
    time.sleep(1.5)
    assert not writers()
    assert "nobody opened the stream of this answer within 1 s" in httpx.get(unread[0], timeout=60).text


@pytest.mark.parametrize("body", [{}, {"session_hash": "somebody"}])
def test_work_ends_when_its_stream_is_dropped(page: gr.Blocks, slowly: list[float], body: dict[str, str]) -> None:
    with httpx.stream("GET", call(page, LONG, **body), timeout=60) as answers:
        assert next(answers.iter_lines()) == "event: generating"
        assert writers() == 2
    dropped = time.monotonic()
    assert wait_until_idle() < 30  # on a busy machine
    assert slowly[0] - dropped < 5 and "event: complete" in httpx.get(call(page, SHORT), timeout=60).text


def test_full_is_said_to_programs(page: gr.Blocks, slowly: list[float]) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(httpx.stream("GET", call(page, LONG), timeout=60)) for _ in range(2)]
        lines = [stream.iter_lines() for stream in streams]  # an iterator that is forgotten closes its stream
        assert [next(line) for line in lines] == ["event: generating"] * 2
        told = httpx.get(call(page, SHORT), timeout=60).text
        assert "the queue for text is full, with 2 in it; try again in about" in told
    wait_until_idle()


@pytest.mark.slow
def test_one_client_with_many_calls_gets_all_answers(page: gr.Blocks) -> None:
    client = Client(str(page.local_url), verbose=False)
    jobs = [client.submit("a", length=50, seed=seed, api_name="/generate_text") for seed in range(3)]
    assert [job.result(60)[0]["seed"] for job in jobs] == [0, 1, 2]
    client.close()


@pytest.mark.slow
def test_sessions_are_forgotten(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    app, known = page.app, page.app.state_holder.session_data
    client = Client(str(page.local_url), verbose=False)
    client.predict(api_name="/checkpoints")
    assert client.session_hash in known
    for _ in range(3):
        httpx.get(call(page, SHORT), timeout=60)
    assert len(known) >= 4
    monkeypatch.setattr(visitors, "MEMORY", 0.0)
    there = _visitors_of(page)

    def forgotten(rest: list[str]) -> bool:
        """Whether only `rest` is known, at once or when the clients of other tests have closed their streams."""
        for _ in range(100):
            there.forget(app)
            if [*known] == rest:
                return True
            time.sleep(0.2)
        return False

    assert forgotten([client.session_hash])  # it is still there
    client.close()
    assert forgotten([]) and not app.state_holder.time_last_used


def _visitors_of(page: gr.Blocks) -> visitors.Visitors:
    found: visitors.Visitors = next(
        one.kwargs["visitors"] for one in page.app.user_middleware if one.cls is visitors._Streams
    )
    return found


def test_limits_hold_on_the_page_and_for_programs(page: gr.Blocks, sound_file: Path, tmp_path: Path) -> None:
    sliders = {slider.label: slider for slider in page.blocks.values() if isinstance(slider, gr.Slider)}
    assert sliders["Length in seconds"].maximum == 1 and sliders["Length in words"].maximum == 360
    assert sliders["Variations"].maximum == 2
    client = Client(str(page.local_url), verbose=False)
    for wrong, told in (
        ({"length": 1.1, "api_name": "/generate_audio"}, "length is 1.1 seconds; it must be from 0.1 to 1"),
        ({"variations": 3, "api_name": "/generate_text"}, "variations is 3; it must be from 1 to 2"),
    ):
        with pytest.raises(AppError, match=told):
            client.predict(**wrong)
    soundfile.write(tmp_path / "long.wav", np.zeros(6 * 8000), 8000, subtype="PCM_U8")
    for name, arguments in (
        ("/generate_audio", {"prompt": handle_file(tmp_path / "long.wav")}),
        ("/score", {"checkpoint": "audio-haar", "file": handle_file(tmp_path / "long.wav")}),
    ):
        with pytest.raises(AppError, match=r"^long.wav: lasts 6 seconds; it must be at most 5$"):
            client.predict(**arguments, api_name=name)
    (tmp_path / "large.wav").write_bytes(bytes(1 << 21))
    with (tmp_path / "large.wav").open("rb") as file:
        assert httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).status_code == 413
    client.close()


def test_a_length_below_the_shortest_is_refused(tiny_checkpoints: Path) -> None:
    with pytest.raises(InputError, match="--max-length of text is 10 characters; it must be 50 or more"):
        open_page(tiny_checkpoints, "127.0.0.1", 7860, limits=Limits(max_length={"text": 10}), block=False)


def test_logins_guard_page_endpoints_and_files(tiny_checkpoints: Path) -> None:
    logins = [("ann", "secret"), ("ben", "hidden")]
    page = open_page(tiny_checkpoints, "127.0.0.1", unused_port(), logins=logins, block=False)
    url = str(page.local_url)
    try:
        for path in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
            assert httpx.get(url + path).status_code == 401, path
        assert httpx.post(f"{url}gradio_api/call/generate_text", json={"data": SHORT}).status_code == 401
        with pytest.raises(Exception, match=r"(?i)login|credentials|auth"):
            Client(url, verbose=False, auth=("ann", "hidden"))
        client = Client(url, verbose=False, auth=logins[1])
        assert client.predict("a", length=50, api_name="/generate_text")[0]["tokens"] == 50
        client.close()
    finally:
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_end_leaves_no_temporary_files(how: signal.Signals, tiny_checkpoints: Path, tmp_path: Path) -> None:
    for name in ("gradio", "own"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "gradio"), "TMPDIR": str(tmp_path / "own")}
    port = unused_port()
    command = [sys.executable, "-m", "waveletgpt", "app", "--port", str(port), "--checkpoints", tiny_checkpoints]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout and f"127.0.0.1:{port}" in process.stdout.readline()
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=False)
        client.predict("a", length=50, api_name="/generate_text")
        assert [*(tmp_path / "gradio").rglob("*.json")]
        client.submit("a", length=2000, api_name="/generate_text")  # ends in the middle of work, with a client there
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
