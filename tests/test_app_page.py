"""The page's handlers, and its endpoints as a client sees them."""

import shutil
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from symusic.core import ScoreTick

from waveletgpt.app import results
from waveletgpt.app.checkpoints import find_checkpoints
from waveletgpt.app.handlers import Handlers, Press
from waveletgpt.app.inputs import Inputs
from waveletgpt.app.modalities import MODALITIES, load_modality
from waveletgpt.app.page import build_page, open_page
from waveletgpt.common.errors import InputError

PROMPT = {
    "prompt": "a",
    "baseline": "text-baseline",
    "wavelet": "text-haar",
    "length": 60,
    "temperature": 1,
    "top_k": 0,
    "top_p": 1,
    "min_p": 0,
    "seed": 0,
    "keep": 100,
}


@pytest.fixture(scope="module")
def client(page_url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(page_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def text(tiny_checkpoints: Path) -> Handlers:
    return Handlers(load_modality("text"), {one.name: one for one in find_checkpoints(tiny_checkpoints)[-2:]})


def test_endpoints_are_typed_and_documented_and_nothing_else_is_public(client: Client) -> None:
    api: dict[str, Any] = client.view_api(return_format="dict")["named_endpoints"]
    assert set(api) == {f"/generate_{name}" for name in MODALITIES}
    for name in MODALITIES:
        endpoint = api[f"/generate_{name}"]
        assert [p["parameter_name"] for p in endpoint["parameters"]] == list(Inputs._fields)
        assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])
        assert "bits_per_token: float" in endpoint["returns"][-1]["python_type"]["type"]
    kinds = {p["parameter_name"]: p["python_type"]["type"] for p in api["/generate_text"]["parameters"]}
    assert kinds["baseline"] == "Literal['text-baseline']" and kinds["seed"] == "int"


def test_text_endpoint(client: Client) -> None:
    baseline, wavelet = client.predict(prompt="Hello ", length=60, seed=5, api_name="/generate_text")
    assert (baseline["checkpoint"], baseline["mixer"]) == ("text-baseline", "none")
    assert (wavelet["checkpoint"], wavelet["mixer"]) == ("text-haar", "haar")
    for result in (baseline, wavelet):
        assert result["tokens"] == 60 and result["text"].startswith("Hello ") and len(result["text"]) == 66
        assert 5 < result["bits_per_token"] < 7  # an untrained model is near log2 of 67 characters
        assert result["tokens_per_second"] > 0
    again = client.predict(prompt="Hello ", length=60, seed=5, api_name="/generate_text")
    assert again[0]["text"] == baseline["text"]


def test_audio_endpoint(client: Client, sound_file: Path) -> None:
    first, baseline, second, _ = client.predict(
        handle_file(sound_file), length=0.2, keep=0.3, api_name="/generate_audio"
    )
    assert first != second and Path(first).name == "audio-baseline-seed0.wav"
    assert soundfile.info(first).duration == baseline["seconds"] == 0.5


def test_music_endpoint(client: Client, midi_file: Path) -> None:
    midi, wav, baseline, *_ = client.predict(handle_file(midi_file), length=50, api_name="/generate_music")
    assert len(ScoreTick(midi).tracks[0].notes) == baseline["notes"] >= 8
    assert soundfile.info(wav).duration > 3
    assert client.predict(None, length=50, api_name="/generate_music")[2]["prompt_seconds"] == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "Zoé"}, "character 'é' at position 2"),
        ({"prompt": 5}, "prompt is 5; it must be text"),
        ({"length": 10}, "length is 10 characters; it must be from 50 to 2000"),
        ({"length": "long"}, "length is 'long'; it must be a number"),
        ({"keep": 0}, "keep is 0 characters"),
        ({"temperature": None}, "temperature is empty"),
        ({"top_k": 1.5}, "top-k is 1.5; it must be a whole number"),
        ({"top_p": 0}, "top-p is 0"),
        ({"min_p": 7}, "min-p is 7"),
        ({"seed": -1}, "seed is -1"),
        ({"baseline": "nowhere"}, "there is no text checkpoint 'nowhere'; choose text-baseline, text-haar"),
        ({"baseline": None, "wavelet": None}, "no checkpoint is chosen"),
    ],
)
def test_bad_input_is_one_line_on_the_page_and_at_the_endpoint(
    text: Handlers, client: Client, wrong: dict[str, Any], told: str
) -> None:
    inputs = {**PROMPT, **wrong}
    ((message, *untouched),) = text.run(Press(), *inputs.values())
    assert told in unescape(message) and "wrong" in message and "\n" not in message
    assert untouched == [gr.skip()] * 4
    with pytest.raises(AppError) as refused:
        client.predict(**inputs, api_name="/generate_text")
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["audio", "music"])
def test_a_corrupt_file_is_named_as_the_person_knows_it(client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / "junk.mid").write_bytes(b"junk" * 100)
    with pytest.raises(AppError, match=r"^junk\.mid: "):
        client.predict(handle_file(tmp_path / "junk.mid"), api_name=f"/generate_{name}")


def test_a_file_that_was_not_uploaded_is_not_read(text: Handlers, client: Client) -> None:
    secret = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    job = client.submit(secret, api_name="/generate_audio")
    with pytest.raises(Exception, match=r"passwd|not uploaded"):
        job.result(30)


def test_a_vocabulary_that_does_not_match(tmp_path: Path, tiny_checkpoints: Path) -> None:
    path = tmp_path / "text"
    shutil.copytree(tiny_checkpoints / "text-haar", path)
    config = path / "config.json"
    config.write_text(config.read_text().replace('"alphabet": "\\n ', '"alphabet": "\\n'))
    handlers = Handlers(load_modality("text"), {one.name: one for one in find_checkpoints(tmp_path)})
    inputs = {**PROMPT, "baseline": None, "wavelet": "text"}
    ((message, *_),) = handlers.run(Press(), *inputs.values())
    assert "they must be equal" in message


def test_one_column_alone(text: Handlers) -> None:
    *_, last = text.run(Press(), *{**PROMPT, "wavelet": None}.values())
    assert "60 characters" in last[2] and last[3:] == ["", ""]


def test_stopping_ends_with_what_there_is(tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "EVERY", 0.02)
    handlers = Handlers(load_modality("music"), {one.name: one for one in find_checkpoints(tiny_checkpoints)})
    inputs = {**PROMPT, "prompt": None, "baseline": "music-baseline", "wavelet": "music-haar", "length": 2000}
    press, _ = handlers.begin(None)
    running = handlers.run(press, *inputs.values())
    assert "of 2,000 events" in next(running)[2]
    next(running)
    assert "Stopping" in handlers.stop(press)
    *_, last = running
    assert "Stopped" in last[0] and len(last) == 1 + 2 * 5
    assert "of 2,000 events" in last[2] and ">0 of" not in last[2]
    assert handlers.stop(press) == gr.skip()


def test_generating_anew_ends_what_was_begun_before(text: Handlers) -> None:
    press, _ = text.begin(None)
    running = text.run(press, *PROMPT.values())
    next(running)
    again, _ = text.begin(press)
    assert again is not press and list(running) == []


def test_settings_that_rule_nothing_out_are_not_passed_on() -> None:
    sampling = Inputs(**PROMPT).request(load_modality("text")).sampling
    assert (sampling.top_k, sampling.top_p, sampling.min_p) == (None, None, None)


def test_a_tab_without_checkpoints_says_how_to_train_one(tmp_path: Path) -> None:
    page = build_page(tmp_path)
    told = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]
    for name in MODALITIES:
        assert any(f"There is no {name} checkpoint" in line and f"train_{name}.py" in line for line in told)


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a directory"):
        build_page(tmp_path / "nowhere")


def test_a_port_that_is_taken_is_said_in_one_line(page_url: str, tiny_checkpoints: Path) -> None:
    port = int(page_url.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken or not allowed; choose another"):
        open_page(tiny_checkpoints, "127.0.0.1", port, block=False)
