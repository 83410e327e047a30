"""The endpoints for programs, called by a client."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from slow import slow_down
from symusic.core import ScoreTick

from waveletgpt.app.recipe import find_recipe, from_word, to_word
from waveletgpt.app.web.inputs import Settings
from waveletgpt.app.web.page import build_page, open_page
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES

ENDPOINTS = {
    *(f"/generate_{name}" for name in MODALITIES),
    "/checkpoints",
    "/score",
    "/alternatives",
    "/scales",
    "/novelty",
}


@pytest.fixture(scope="module")
def client(page_url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(page_url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiny models write less than a thousand tokens a second, as real ones may. Counts their steps."""
    return slow_down(monkeypatch, 0.001)


def test_endpoints_are_typed_and_described_and_nothing_else_is_public(client: Client) -> None:
    api: dict[str, Any] = client.view_api(return_format="dict")
    assert set(api["named_endpoints"]) == ENDPOINTS and not api["unnamed_endpoints"]
    for name, endpoint in api["named_endpoints"].items():
        assert endpoint["description"].endswith(".")
        for parameter in endpoint["parameters"]:
            assert parameter["parameter_has_default"]
            assert parameter["python_type"]["description"].endswith("."), (name, parameter)
    for name in MODALITIES:
        endpoint = api["named_endpoints"][f"/generate_{name}"]
        names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        assert names[:4] == ["prompt", "checkpoint_a", "checkpoint_b", "recipe"] and names[4:] == list(Settings._fields)
        assert [result["label"] for result in endpoint["returns"]] == ["result_a", "result_b"]
        for result in endpoint["returns"]:
            told = result["python_type"]["type"]
            for fact in ("bits_per_token: float", "first_divergence: int | None", "recipe: str", "variations: list["):
                assert fact in told
    parameters = {p["parameter_name"]: p for p in api["named_endpoints"]["/generate_audio"]["parameters"]}
    types = {name: parameter["python_type"]["type"] for name, parameter in parameters.items()}
    defaults = {name: parameter["parameter_default"] for name, parameter in parameters.items()}
    assert (types["prompt"], types["seed"], types["length"], types["paired"]) == ("filepath", "int", "float", "bool")
    assert defaults["checkpoint_b"] == "audio-haar" and (defaults["length"], defaults["variations"]) == (1.0, 1)


def test_text(client: Client) -> None:
    asked = {"prompt": "Hello ", "length": 60, "seed": 5, "variations": 2, "api_name": "/generate_text"}
    a, b = client.predict(**asked)
    assert [(one["checkpoint"], one["mixer"]) for one in (a, b)] == [("text-baseline", "none"), ("text-haar", "haar")]
    for one in (a, b):
        first, second = one.pop("variations")
        assert {name: first[name] for name in one if name != "files"} == {
            name: value for name, value in one.items() if name != "files"
        }
        assert (first["variation"], second["variation"]) == (0, 1) and first["text"] != second["text"]
        for variation in (first, second):
            text = variation["text"]
            assert variation["tokens"] == 60 and text.startswith("Hello ") and len(text) == 66
            assert 5 < variation["bits_per_token"] < 7  # an untrained model is near log2 of 67 characters
            assert 5 < variation["bits_per_token_by_other"] < 8
            assert variation["tokens_per_second"] > 0
            assert Path(variation["files"]["txt"]).read_text("utf-8") == text
            assert json.loads(Path(variation["files"]["json"]).read_text("utf-8"))["text"] == text
            assert from_word(variation["recipe"]) == find_recipe(Path(variation["files"]["json"]))
        assert "variation2" in second["files"]["txt"] and "variation" not in first["files"]["txt"]
    same = a["first_divergence"]
    new = [one["text"][len("Hello ") :] for one in (a, b)]
    assert new[0][:same] == new[1][:same] and new[0][same] != new[1][same]


def test_a_recipe_makes_the_same_files_again(client: Client, midi_file: Path) -> None:
    whole, _ = client.predict(handle_file(midi_file), length=50, variations=2, api_name="/generate_music")
    for variation in whole["variations"]:
        again, other = client.predict(recipe=variation["recipe"], api_name="/generate_music")
        assert other is None
        for suffix, path in variation["files"].items():
            assert Path(path).read_bytes() == Path(again["files"][suffix]).read_bytes()
            assert Path(path).name == Path(again["files"][suffix]).name
    assert len(ScoreTick(whole["files"]["mid"]).tracks[0].notes) == whole["notes"] >= 8
    assert soundfile.info(whole["files"]["wav"]).duration > 3


def test_unpaired_results_are_not_compared(client: Client) -> None:
    a, b = client.predict("a", length=50, paired=False, seed=2**64 - 2, api_name="/generate_text")
    assert (a["seed"], b["seed"]) == (2**64 - 2, 2**64 - 1)
    assert a["first_divergence"] is None and b["bits_per_token_by_other"] is not None


def test_sound_so_far_comes_while_it_grows_and_cancelling_ends_the_work(
    client: Client, sound_file: Path, slowly: list[int]
) -> None:
    job = client.submit(handle_file(sound_file), length=5, checkpoint_b=None, keep=0.5, api_name="/generate_audio")
    answers = []
    for answer in job:
        answers.append(answer)
        if len(answers) == 3:
            job.cancel()
            break
    durations = [soundfile.info(a["files"]["wav"]).duration for a, _ in answers]
    assert 0.5 < durations[0] < durations[1] < durations[2] < 5.5
    assert [a["seconds"] for a, _ in answers] == pytest.approx(durations)
    assert all(b is None for _, b in answers)
    for _ in range(50):
        before = len(slowly)
        time.sleep(0.3)
        if len(slowly) == before:
            break
    assert len(slowly) == before < 20_000


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "Zo€"}, "the model does not know € (character 3)"),
    ({"prompt": 5}, "prompt is 5; it must be text"),
    ({"length": 10}, "length is 10 characters; it must be from 50 to 2000"),
    ({"length": 2001}, "length is 2001 characters; it must be from 50 to 2000"),
    ({"length": "long"}, "length is 'long'; it must be a number"),
    ({"keep": 0}, "keep is 0 characters; it must be from 50 to 2000"),
    ({"temperature": None}, "temperature is empty; it must be a number"),
    ({"temperature": 1e300}, "temperature is 1e+300; it must be a number below 2**64"),
    ({"top_k": 1.5}, "top-k is 1.5; it must be a whole number"),
    ({"top_p": 0}, "top-p is 0; it must be above 0 and at most 1"),
    ({"min_p": 7}, "min-p is 7; it must be from 0 to 1"),
    ({"repetition_penalty": 0}, "repetition penalty is 0"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 2**64}, f"seed is {2**64}; it must be a number below 2**64"),
    ({"seed": True}, "seed is True; it must be a number"),
    ({"variations": 5}, "variations is 5; it must be from 1 to 4"),
    ({"paired": "no"}, "paired is 'no'; it must be true or false"),
    ({"recipe": "x"}, "the recipe is damaged"),
    ({"recipe": 5}, "recipe is 5; it must be text"),
    ({"checkpoint_a": "nowhere"}, "there is no text checkpoint 'nowhere'; choose text-baseline, text-haar"),
    ({"checkpoint_a": ["text-haar"]}, "there is no text checkpoint ['text-haar']"),
    ({"checkpoint_a": None, "checkpoint_b": None}, "no checkpoint is chosen; choose at least one"),
]


def test_bad_input_is_one_line_and_leaves_nothing_in_the_log(
    client: Client, page_url: str, capfd: pytest.CaptureFixture[str], midi_file: Path, tmp_path: Path
) -> None:
    def refusal(**arguments: Any) -> str:
        with pytest.raises(AppError) as refused:
            client.predict(**arguments)
        return str(refused.value)

    for wrong, told in BAD:
        said = refusal(**wrong, api_name="/generate_text")
        assert told in said and "\n" not in said
    (tmp_path / "junk.mid").write_bytes(b"junk" * 100)
    for name in ("audio", "music"):
        said = refusal(prompt=handle_file(tmp_path / "junk.mid"), api_name=f"/generate_{name}")
        assert said.startswith("junk.mid: ") and "\n" not in said
    assert "prompt is 5; it must be an uploaded file" in refusal(prompt=5, api_name="/generate_audio")
    for asked, told in (
        ({"checkpoint": "nowhere"}, "there is no checkpoint 'nowhere'; /checkpoints lists them"),
        ({"checkpoint": "text-haar"}, "text-haar reads text; give text"),
        ({"checkpoint": "music-haar", "text": "a"}, "music-haar reads music; give a file"),
        ({"checkpoint": "audio-haar", "file": handle_file(midi_file)}, f"{midi_file.name}: corrupt, or not a"),
    ):
        assert told in refusal(**asked, api_name="/score")
    for number in ("1e999", "NaN", "1" + 400 * "0"):  # no client sends these
        data = ['"a"', '"text-haar"', "null", '""', "50", "1", number, "1", "true", "100", "0", "1", "0", "1"]
        body = f'{{"data": [{", ".join(data)}]}}'
        address = f"{page_url}gradio_api/call/generate_text"
        answer = httpx.post(address, content=body, headers={"content-type": "application/json"})
        if answer.status_code == 200:
            said = httpx.get(f"{address}/{answer.json()['event_id']}", timeout=60).text
            assert "event: error" in said and "must be a number" in said
    assert "Traceback" not in capfd.readouterr().err


def test_a_part_that_is_longer_than_the_page_allows_is_refused(client: Client) -> None:
    a, _ = client.predict("a", length=50, checkpoint_b=None, api_name="/generate_text")
    (recipe,) = from_word(a["recipe"])
    assert recipe
    long = to_word([type(recipe)(**{**vars(recipe), "lengths": (10**9,)})])
    with pytest.raises(AppError, match=r"1,000,000,000 characters at a time; the page makes 2,000 at most"):
        client.predict(recipe=long, api_name="/generate_text")


def test_a_file_that_was_not_uploaded_is_not_read(page_url: str, sound_file: Path) -> None:
    def call(name: str, *arguments: Any) -> str:
        """Call an endpoint without a client, which would upload the file."""
        address = f"{page_url}gradio_api/call/{name}"
        event = httpx.post(address, json={"data": arguments}).json()["event_id"]
        return httpx.get(f"{address}/{event}", timeout=60).text

    settings = ["audio-haar", None, "", 0.1, 1, 0, 1, True, 1, 0, 1, 0, 1]
    meta = {"_type": "gradio.FileData"}
    for path in (str(sound_file), "/etc/passwd"):
        for value in (path, {"path": path}, {"path": path, "meta": meta}):
            assert "event: error" in call("generate_audio", value, *settings)
            assert "event: error" in call("score", "audio-haar", "", value)
    with sound_file.open("rb") as file:
        (there,) = httpx.post(f"{page_url}gradio_api/upload", files={"files": file}).json()
    told = call("generate_audio", {"path": there, "meta": meta}, *settings)
    assert "event: complete" in told and '"prompt_seconds": 1.0' in told  # only the place of the file was wrong


def test_checkpoints_and_their_scores(client: Client, midi_file: Path, sound_file: Path) -> None:
    found = client.predict(api_name="/checkpoints")
    assert [(one["name"], one["modality"]) for one in found][:2] == [("text-baseline", "text"), ("text-haar", "text")]
    assert len({one["digest"] for one in found}) == 6 and found[0]["losses"] == {"train": 2.0, "val": 3.0}
    scored = client.predict("text-haar", text="Hello", api_name="/score")
    assert scored["checkpoint"] == "text-haar" and scored["tokens"] == len(scored["bits"]) == 5
    assert scored["bits_per_token"] == pytest.approx(sum(scored["bits"]) / 5, abs=1e-3)
    a, _ = client.predict("Hello", length=50, temperature=1, api_name="/generate_text", checkpoint_a="text-haar")
    whole = client.predict("text-haar", text=a["text"], api_name="/score")
    assert sum(whole["bits"][5:]) / 50 == pytest.approx(a["bits_per_token"], abs=0.1)
    likeliest = client.predict("text-haar", text=a["text"][:-1], api_name="/alternatives")
    assert [one["probability"] for one in likeliest] == sorted((one["probability"] for one in likeliest), reverse=True)
    last = {one["label"]: one["probability"] for one in likeliest}.get(a["text"][-1])
    assert last is None or last == pytest.approx(2 ** -whole["bits"][-1], abs=1e-4)
    scales = client.predict("text-haar", text=a["text"], api_name="/scales")
    assert scales["windows"][0] == 2 and len(scales["values"][0]) == len(scales["windows"])
    assert len(scales["values"][0][0]) == min(500, scales["tokens"])
    begins = client.predict("music-haar", api_name="/alternatives")
    assert len(begins) == 10 and all(one["label"] for one in begins)
    assert client.predict("music-haar", file=handle_file(midi_file), api_name="/score")["tokens"] > 8
    assert 7 < client.predict("audio-haar", file=handle_file(sound_file), api_name="/score")["bits_per_token"] < 9


def test_mcp_has_these_tools_and_is_asked_for(tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = build_page(tiny_checkpoints)
    public = {f"/{fn.api_name}": fn.fn for fn in page.fns.values() if fn.api_visibility == "public"}
    assert set(public) == ENDPOINTS
    for name, function in public.items():  # gradio's MCP names and describes tools by these
        assert f"/{function.__name__}" == name and "Args:" in function.__doc__
    monkeypatch.setattr("waveletgpt.app.web.page.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'pip install "gradio\[mcp\]"'):
        open_page(tiny_checkpoints, "127.0.0.1", 7860, mcp=True, block=False)


@pytest.mark.skipif(find_spec("mcp") is None, reason='gradio\'s extra is not installed (pip install "gradio[mcp]")')
def test_mcp_serves_the_five_tools(tiny_checkpoints: Path, free_port: int) -> None:
    page = open_page(tiny_checkpoints, "127.0.0.1", free_port, mcp=True, block=False)
    tools = httpx.get(f"{page.local_url}gradio_api/mcp/schema").json()
    page.close()
    assert {f"/{tool['name']}" for tool in tools} == ENDPOINTS
    for tool in tools:
        assert all(one["description"] for one in tool["inputSchema"]["properties"].values())


def test_the_default_device_is_the_cpu(tiny_checkpoints: Path) -> None:
    with pytest.raises(InputError, match=r"--device abacus cannot be used here \(.*\); try cpu"):
        build_page(tiny_checkpoints, device="abacus")
    told = subprocess.run(
        [sys.executable, "-m", "waveletgpt", "app", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--device" in told and "equal bytes" in " ".join(told.split()) and "--mcp" in told
