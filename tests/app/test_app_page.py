"""The handlers of the page, and its HTTP endpoints called by a client."""

import itertools
import math
import re
import shutil
import threading
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
import soundfile
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from symusic.core import ScoreTick

from waveletgpt.app import results, streaming
from waveletgpt.app.checkpoints import find_checkpoints
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.web.handlers import Generation, Handlers
from waveletgpt.app.web.inputs import Inputs
from waveletgpt.app.web.page import build_page, open_page
from waveletgpt.app.web.tab import build_tab
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.generation import Step, generate
from waveletgpt.tokenizers.characters import CharacterTokenizer

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
    "repetition_penalty": 1,
}


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """No test waits for the engine to be ready, except the test of that wait."""
    streaming.make_ready()


@pytest.fixture(scope="module")
def client(page_url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(page_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def tab_of(name: str, directory: Path) -> Handlers:
    """The handlers of a tab with the checkpoints in a directory."""
    with gr.Blocks():
        return build_tab(load_modality(name), [one for one in find_checkpoints(directory) if one.info.modality == name])


@pytest.fixture
def text(tiny_checkpoints: Path) -> Handlers:
    return tab_of("text", tiny_checkpoints)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models write less than a thousand tokens a second, as real ones may."""

    def slow(*arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(*arguments, **settings):
            time.sleep(0.001)
            yield step

    monkeypatch.setattr(streaming, "generate", slow)


def test_endpoints_are_typed_and_documented_and_nothing_else_is_public(client: Client) -> None:
    api: dict[str, Any] = client.view_api(return_format="dict")["named_endpoints"]
    assert set(api) == {f"/generate_{name}" for name in MODALITIES}
    for name in MODALITIES:
        endpoint = api[f"/generate_{name}"]
        assert [p["parameter_name"] for p in endpoint["parameters"]] == list(Inputs._fields)
        assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])
        told = endpoint["returns"][-1]["python_type"]["type"]
        for fact in ("bits_per_token: float,", "bits_per_token_by_other: float | None", "first_divergence: int | None"):
            assert fact in told
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
        assert 5 < result["bits_per_token_by_other"] < 8
        assert result["bits_per_token_by_other"] != result["bits_per_token"]
    same = baseline["first_divergence"]
    assert same == wavelet["first_divergence"]
    new = [result["text"][len("Hello ") :] for result in (baseline, wavelet)]
    assert new[0][:same] == new[1][:same] and new[0][same] != new[1][same]
    again = client.predict(prompt="Hello ", length=60, seed=5, api_name="/generate_text")
    assert again[0]["text"] == baseline["text"]


def test_audio_endpoint(client: Client, sound_file: Path) -> None:
    first, baseline, second, _ = client.predict(
        handle_file(sound_file), length=0.2, keep=0.3, api_name="/generate_audio"
    )
    assert first != second and Path(first).name == "audio-baseline-seed0.wav"
    assert soundfile.info(first).duration == baseline["seconds"] == 0.5


def test_audio_endpoint_gives_the_clip_so_far(client: Client, slowly: None) -> None:
    begun = time.monotonic()
    job = client.submit(None, length=5, wavelet=None, api_name="/generate_audio")
    answers, first = [], math.inf
    for answer in job:
        first = min(first, time.monotonic() - begun)
        answers.append(answer)
        if len(answers) == 3:
            job.cancel()
            break
    assert first < 10  # 2 on a machine that does nothing else
    durations = [soundfile.info(path).duration for path, *_ in answers]
    assert 0 < durations[0] < durations[1] < durations[2] < 5
    assert [facts["seconds"] for _, facts, *_ in answers] == pytest.approx(durations)
    assert all(path is None and facts is None for *_, path, facts in answers)


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
        ({"repetition_penalty": 0}, "repetition penalty is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"baseline": "nowhere"}, "there is no text checkpoint 'nowhere'; choose text-baseline, text-haar"),
        ({"baseline": None, "wavelet": None}, "no checkpoint is chosen"),
    ],
)
def test_bad_input_is_one_line_on_the_page_and_at_the_endpoint(
    text: Handlers, client: Client, wrong: dict[str, Any], told: str
) -> None:
    inputs = {**PROMPT, **wrong}
    (changes,) = text.generate(Generation(), *inputs.values())
    (message,) = changes.values()  # nothing else changes
    assert list(changes) == [text.tab.status]
    assert told in unescape(message) and "wrong" in message and "\n" not in message
    with pytest.raises(AppError) as refused:
        client.predict(**inputs, api_name="/generate_text")
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["audio", "music"])
def test_a_corrupt_file_is_named_as_the_person_knows_it(client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / "junk.mid").write_bytes(b"junk" * 100)
    with pytest.raises(AppError, match=r"^junk\.mid: "):
        client.predict(handle_file(tmp_path / "junk.mid"), api_name=f"/generate_{name}")


def test_a_file_that_was_not_uploaded_is_not_read(
    page_url: str, sound_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(load_modality("audio"), "read_prompt", lambda path, _: read.append(path))

    def call(path: str) -> str:
        """Call the endpoint without a client, which would upload the file."""
        prompt = {"path": path, "meta": {"_type": "gradio.FileData"}}
        inputs = {**PROMPT, "prompt": prompt, "baseline": "audio-baseline", "wavelet": None, "length": 1, "keep": 1}
        address = f"{page_url}gradio_api/call/generate_audio"
        event = httpx.post(address, json={"data": [*inputs.values()]}).json()["event_id"]
        return httpx.get(f"{address}/{event}", timeout=30).text

    assert "event: error" in call(str(sound_file))
    assert not read
    with sound_file.open("rb") as file:
        (uploaded,) = httpx.post(f"{page_url}gradio_api/upload", files={"files": file}).json()
    call(uploaded)
    assert read  # the call is valid: only the place of the file made it fail


def test_a_vocabulary_that_does_not_match(tmp_path: Path, tiny_checkpoints: Path) -> None:
    path = tmp_path / "text"
    shutil.copytree(tiny_checkpoints / "text-haar", path)
    config = path / "config.json"
    config.write_text(config.read_text().replace('"alphabet": "\\n ', '"alphabet": "\\n'))
    handlers = tab_of("text", tmp_path)
    inputs = {**PROMPT, "baseline": None, "wavelet": "text"}
    (changes,) = handlers.generate(Generation(), *inputs.values())
    assert "they must be equal" in changes[handlers.tab.status]


def test_one_column_alone(text: Handlers) -> None:
    generation, (baseline, wavelet) = Generation(), text.tab.columns
    *_, last = text.generate(generation, *{**PROMPT, "wavelet": None}.values())
    assert "60 characters" in last[baseline.metrics]
    assert last[wavelet.view] == last[wavelet.metrics] == ""
    assert "agree" not in unescape(last[text.tab.agreement]).partition(">")[2]
    assert list(text.score(generation)) == [{baseline.metrics: gr.skip(), wavelet.metrics: gr.skip()}]


def test_stopping_ends_with_what_there_is(
    tiny_checkpoints: Path, slowly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "EVERY", 0.02)
    handlers = tab_of("music", tiny_checkpoints)
    inputs = {**PROMPT, "prompt": None, "baseline": "music-baseline", "wavelet": "music-haar", "length": 2000}
    generation, status = handlers.begin()[handlers.tab.generation], handlers.tab.status
    lines = [column.metrics for column in handlers.tab.columns]
    running = handlers.generate(generation, *inputs.values())
    for changes in running:
        assert all("of 2,000 events" in changes[line] for line in lines)
        if all("tokens/s" in changes[line] for line in lines):  # both models have begun
            break
    handlers.stop(generation)
    *_, stopping, last = running
    assert list(stopping) == [status] and "Stopping" in stopping[status]  # shown until the files are written
    assert "Stopped" in last[status]
    assert all("of 2,000 events" in last[line] for line in lines)
    assert all(last[button]["interactive"] for column in handlers.tab.columns for button in column.downloads.values())


def test_no_text_cursor_blinks_after_the_end(text: Handlers, slowly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "EVERY", 0.02)
    column, writing = text.tab.columns[0], generate

    def failing(*arguments: Any, **settings: Any) -> Iterator[Step]:
        yield from itertools.islice(writing(*arguments, **settings), 20)
        time.sleep(0.1)
        raise MemoryError

    generation = Generation()
    running = text.generate(generation, *{**PROMPT, "length": 2000}.values())
    assert 'class="cursor"' in next(running)[column.view]
    next(running)
    generation.stopping = True
    *_, stopped = running
    assert "characters" in stopped[column.metrics] and 'class="cursor"' not in stopped[column.view]
    monkeypatch.setattr(streaming, "generate", failing)
    running = text.generate(Generation(), *PROMPT.values())
    shown: list[dict[Any, Any]] = []
    with pytest.raises(MemoryError):
        for changes in running:
            shown.append(changes)
    assert "20 of 60" in shown[-1][column.metrics] and 'class="cursor"' not in shown[-1][column.view]


def test_done_counts_the_time_until_a_result_can_be_played(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = tab_of("music", tiny_checkpoints)
    write = handlers.modality.write

    def slow(*arguments: Any) -> None:
        time.sleep(0.5)
        write(*arguments)

    monkeypatch.setattr(handlers.modality, "write", slow)
    inputs = {**PROMPT, "prompt": None, "baseline": "music-baseline", "wavelet": None, "length": 50}
    *_, last = handlers.generate(Generation(), *inputs.values())
    assert last[handlers.tab.columns[0].player]["file"]
    seconds = re.search(r"Done in (\d+\.\d) s", last[handlers.tab.status])
    assert seconds and float(seconds[1]) >= 1.0  # a .mid and a .wav


def test_the_page_tells_where_the_two_part_and_what_each_thinks_of_the_other(text: Handlers) -> None:
    generation, lines = Generation(), [column.metrics for column in text.tab.columns]
    *_, last = text.generate(generation, *{**PROMPT, "seed": 5}.values())
    told = unescape(last[text.tab.agreement])
    first, second = (one.completion.new for one in generation.results if one)
    same = next(i for i in range(60) if first[i] != second[i])
    expected = "The two choose differently from the first character on." if same == 0 else f"the first {same} character"
    assert expected in told
    for line in lines:
        assert re.search(r"\d\.\d\d bits per character \(by the other model: …\)", unescape(last[line]))
    *_, scored = text.score(generation)
    one, other = (one for one in generation.results if one)
    for line, of, by in ((lines[0], one, other), (lines[1], other, one)):
        with torch.inference_mode():
            ids = torch.cat([of.task.prompt, of.completion.new])[None]
            log_probs = by.loaded.model(ids).log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        bits = -float(log_probs[len(of.task.prompt) - 1 :].mean()) / math.log(2)
        assert f"(by the other model: {bits:.2f})" in unescape(scored[line])


def test_two_of_the_same_agree_in_everything(tiny_checkpoints: Path) -> None:
    with gr.Blocks():
        handlers = build_tab(load_modality("audio"), find_checkpoints(tiny_checkpoints))
    inputs = {**PROMPT, "prompt": None, "baseline": "audio-haar", "wavelet": "audio-haar", "length": 0.1, "keep": 1}
    generation = Generation()
    *_, last = handlers.generate(generation, *inputs.values())
    assert "The two wrote the same 400 samples (0.1000 s)." in unescape(last[handlers.tab.agreement])
    *_, lines = handlers.score(generation)
    for line in lines.values():  # each line shows the loss that the other model gives this sample
        own, by_other = re.findall(r"(\d\.\d\d) bits per sample \(by the other model: (\d\.\d\d)\)", line)[0]
        assert float(own) == pytest.approx(float(by_other), abs=0.02)


def test_models_of_different_vocabularies_are_not_compared(
    tiny_checkpoints: Path, tmp_path: Path, save_tiny: Any
) -> None:
    shutil.copytree(tiny_checkpoints / "text-baseline", tmp_path / "a")
    save_tiny(tmp_path / "b", "text", CharacterTokenizer("abc"), "haar")
    handlers, generation = tab_of("text", tmp_path), Generation()
    inputs = {**PROMPT, "baseline": "a", "wavelet": "b"}.values()
    *_, last = handlers.generate(generation, *inputs)
    assert "different vocabularies" in last[handlers.tab.agreement]
    assert "by the other" not in last[handlers.tab.columns[0].metrics]
    assert [value for changes in handlers.score(generation) for value in changes.values()] == [gr.skip()] * 2
    *_, answer = handlers.answer(*inputs)
    for facts in answer.values():
        assert facts["first_divergence"] is None and facts["bits_per_token_by_other"] is None


def test_sound_can_be_heard_while_it_grows(
    tiny_checkpoints: Path, slowly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "EVERY", 0.02)
    handlers = tab_of("audio", tiny_checkpoints)
    monkeypatch.setattr(handlers.modality, "refresh", 0.05)
    inputs = {**PROMPT, "prompt": None, "baseline": "audio-baseline", "wavelet": None, "length": 0.5, "keep": 1}
    player = handlers.tab.columns[0].player
    values = [shown[player] for shown in handlers.generate(Generation(), *inputs.values()) if player in shown]
    assert values[0] is None  # the earlier sound is removed
    clips = [value["pcm"] for value in values if value and "pcm" in value]
    assert len(clips) > 2 and values[-1]["file"]["path"].endswith("audio-baseline-seed0.wav")
    for shorter, longer in itertools.pairwise(clips):
        assert longer.startswith(shorter)  # only the new part is sent


def test_the_engine_is_made_ready_once_and_waited_for(text: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ready = [], []

    def slowly() -> None:
        begun.append(1)
        time.sleep(0.2)
        ready.append(1)

    monkeypatch.setattr(streaming, "warm_up", slowly)
    streaming._warm_up.cache_clear()
    running = text.generate(Generation(), *PROMPT.values())
    assert "Preparing the engine" in next(running)[text.tab.status] and begun == []
    threads = [threading.Thread(target=streaming.make_ready) for _ in range(3)]
    for thread in threads:
        thread.start()
    streaming.make_ready()
    assert ready == [1]
    for thread in threads:
        thread.join()
    *_, last = running
    assert "Done" in last[text.tab.status] and begun == [1]


def test_what_nobody_expected_is_said_on_the_page_and_raised(text: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **settings: Any) -> Iterator[Step]:
        raise MemoryError
        yield

    monkeypatch.setattr(streaming, "generate", fail)
    shown = []
    with pytest.raises(MemoryError):
        for changes in text.generate(Generation(), *PROMPT.values()):
            shown.append(changes[text.tab.status])
    assert "went wrong" in shown[-1]


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
