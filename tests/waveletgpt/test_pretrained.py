"""`from waveletgpt import load`: checkpoints by name, folder or Hub id, and results that save and show themselves."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import waveletgpt
from waveletgpt import load
from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.locating import locate
from waveletgpt.app.recipe import find_recipe
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import generate, score

KINDS = {"text": 30.0, "audio": 0.02, "music": 30.0}
"""Kinds of data and lengths to generate."""


def test_the_package_is_imported_without_anything_heavy() -> None:
    code = (
        "import sys, waveletgpt; assert 'torch' not in sys.modules; waveletgpt.load; assert 'gradio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        waveletgpt.lode  # noqa: B018


def test_a_shipped_checkpoint_is_found_by_its_name_from_any_folder(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("text-haar") == SHIPPED / "text-haar"
    model = load("text-haar")
    assert model.name == "text-haar" and "bits per character" in repr(model)


def test_a_run_is_its_best_checkpoint(tiny_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "mine" / "best")
    assert load(tmp_path / "mine").name == "mine"


def test_what_is_not_a_checkpoint_names_those_that_are(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("nothing", "runs/nothing", "runs", "../x"):
        with pytest.raises(InputError, match=rf"^{name} is not a checkpoint; give .*text-learnable$"):
            load(name)


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_the_engine_and_save_themselves(kind: str, tiny_checkpoints: Path, tmp_path: Path) -> None:
    model = load(tiny_checkpoints / f"{kind}-haar")
    result = model.generate(length=KINDS[kind], temperature=0.9, seed=3)
    start = model.tokenizer.start
    steps = list(generate(model.model, start[None], len(result.ids), temperature=0.9, seed=3))
    assert result.prompt_length == 0
    assert torch.equal(result.ids, torch.cat([step.ids for step in steps]))
    own = model.generate(result, length=KINDS[kind] / 2)
    assert own.prompt_length == len(result.ids) and torch.equal(own.ids[: own.prompt_length], result.ids)
    suffixes = {"text": (".txt", ".json"), "audio": (".wav",), "music": (".mid", ".wav")}[kind]
    for suffix in suffixes:
        path = result.save(tmp_path / f"result{suffix}")
        if suffix != ".txt":
            (recipe,) = find_recipe(path)
            assert recipe and recipe.sampling.seed == 3 and recipe.checkpoint == f"{kind}-haar"
    with pytest.raises(InputError, match=r"is a directory|is written as"):
        result.save(tmp_path)


def test_text_reads_as_text_and_streams(tiny_checkpoints: Path) -> None:
    model = load(tiny_checkpoints / "text-haar")
    *_, last = parts = list(model.stream("Zoe ", length=40, seed=1))
    assert str(last).startswith("Zoe ") and last.decoded == str(last) and len(str(last)) == 44
    assert [len(part.ids) for part in parts] == sorted(len(part.ids) for part in parts)
    assert str(model.generate("Zoe ", length=40, seed=1)) == str(last) != str(model.generate("Zoe ", length=40, seed=2))


def test_a_file_is_a_prompt(tiny_checkpoints: Path, sound_file: Path, midi_file: Path) -> None:
    for kind, file in (("audio", sound_file), ("music", midi_file)):
        model = load(tiny_checkpoints / f"{kind}-haar")
        result = model.generate(file, length=KINDS[kind])
        assert torch.equal(result.ids[: result.prompt_length], model.ids(file)) and result.prompt_length > 10


def test_scores_are_those_of_the_engine(tiny_checkpoints: Path) -> None:
    model = load(tiny_checkpoints / "text-haar")
    found, ids = model.score("It was a dark"), model.tokenizer.encode("It was a dark")
    expected = score(model.model, torch.cat([model.tokenizer.start, ids])[None])[0, len(model.tokenizer.start) :]
    assert torch.equal(found.log_probs, expected) and torch.equal(model.score(ids).bits, found.bits)
    assert found.bits_per_token == pytest.approx(float(-expected.mean()) / 0.6931471805599453, rel=1e-6)
    with pytest.raises(InputError, match="outside the model's vocabulary"):
        model.score(torch.tensor([10_000]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_shows_itself_in_a_notebook(kind: str, tiny_checkpoints: Path, tmp_path: Path) -> None:
    result = load(tiny_checkpoints / f"{kind}-haar").generate(length=KINDS[kind])
    shown = result._repr_html_()
    assert ("<svg" in shown) == (kind != "text") and ("<audio controls" in shown) == (kind != "text")
    assert ".waveletgpt {" in shown and "http" not in shown.replace("http://www.w3.org/2000/svg", "")
    if kind == "audio":
        sound = tmp_path / "sound.wav"
        sound.write_bytes(base64.b64decode(shown.rpartition("base64,")[2].partition('"')[0]))
        assert len(soundfile.read(sound)[0]) == len(result.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_goes_there_and_back(kind: str, tiny_checkpoints: Path, tmp_path: Path) -> None:
    model = load(tiny_checkpoints / f"{kind}-haar")
    again = load(model.save_pretrained(tmp_path / "shared"))
    assert again.loaded.digest == model.loaded.digest and again.model is not load(tmp_path / "shared").model
    assert torch.equal(again.generate(length=KINDS[kind]).ids, model.generate(length=KINDS[kind]).ids)
    with torch.no_grad():  # what is saved are the weights in memory
        again.model.norm.weight += 1
    again.save_pretrained(tmp_path / "changed")
    assert load(tmp_path / "changed").loaded.digest != model.loaded.digest
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"):
        model.save_pretrained(tmp_path / "other")


def test_a_checkpoint_goes_to_the_hub_and_comes_from_its_cache(
    monkeypatch: Any, tiny_checkpoints: Path, tmp_path: Path
) -> None:
    """The Hub itself is not asked: the upload is caught, and put where the Hub's own library keeps downloads."""
    import huggingface_hub

    cache, calls = tmp_path / "hub", []
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = cache / "models--someone--stories"

    def upload_folder(_self: Any, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        calls.append((repo_id, commit_message))
        shutil.copytree(folder_path, folder / "snapshots" / commit)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda _, *args, **options: calls.append((args, options)))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    model = load(tiny_checkpoints / "text-haar")
    assert model.push_to_hub("someone/stories", private=True) == "https://huggingface.co/someone/stories"
    assert calls == [
        (("someone/stories",), {"private": True, "exist_ok": True}),
        ("someone/stories", "waveletgpt: text-haar"),
    ]
    assert load("someone/stories").loaded.digest == model.loaded.digest
    assert load(f"someone/stories@{commit}").loaded.digest == model.loaded.digest
    with pytest.raises(InputError, match=r"^someone/poems is no folder here, and the Hugging Face Hub did not "):
        load("someone/poems")
