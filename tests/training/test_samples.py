"""Samples are written at each evaluation, in the model's modality, and depend only on the weights."""

import builtins
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from symusic.core import ScoreTick

from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.runs.samples import has_sample, write_sample
from waveletgpt.training.runs.state import weights_in
from waveletgpt.training.trainer import train

Debug = Callable[..., TrainConfig]
TOKENIZERS = {"text": CharacterTokenizer("abc"), "audio": MuLawTokenizer(4000), "music": MidiTokenizer()}


def model_for(tokenizer: Any) -> GPT:
    torch.manual_seed(0)
    shape = {"block_size": 32, "n_layer": 1, "n_head": 2, "n_embd": 8, "n_hidden": 8, "n_levels": 3}
    return GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()


def sample(directory: Path, modality: str, tokens: int | None, step: int = 1000) -> Path:
    tokenizer = TOKENIZERS[modality]
    model, description = model_for(tokenizer), tokenizer.to_dict()
    return write_sample(directory, step, model, modality=modality, tokenizer=description, tokens=tokens)


def test_each_modality_is_written_as_its_medium(tmp_path: Path) -> None:
    assert list(TOKENIZERS) == list(MODALITIES)
    text = sample(tmp_path, "text", None)
    assert text.name == "step-001000.txt"
    assert len(text.read_text()) == 501 and set(text.read_text().strip()) == set("abc")
    audio = sample(tmp_path, "audio", None)
    assert audio.name == "step-001000.wav"
    found, rate = soundfile.read(audio)
    assert (len(found), rate) == (2000, 4000)
    music = sample(tmp_path, "music", None)
    assert music.name == "step-001000.mid"
    assert len(ScoreTick.from_midi(music.read_bytes()).tracks[0].notes) > 10


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_same_weights_give_the_same_bytes(tmp_path: Path, modality: str) -> None:
    first = sample(tmp_path / "a", modality, 20).read_bytes()
    torch.rand(3)
    assert sample(tmp_path / "b", modality, 20).read_bytes() == first
    assert sample(tmp_path / "c", modality, 40).read_bytes() != first


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_noise_is_the_same_at_every_step_and_in_every_run(tmp_path: Path, modality: str) -> None:
    """Models that find all tokens equally likely write the same, whatever their layers and their other weights."""
    tokenizer, written = TOKENIZERS[modality], set()
    for seed, (mixer, step) in enumerate([("none", 10), ("haar", 10), ("haar", 20)]):
        torch.manual_seed(seed)
        model = GPT(GPTConfig(tokenizer.vocab_size, 16, 2, 2, 8, 16, mixer=mixer, n_levels=2))
        torch.nn.init.zeros_(model.head.weight)
        description = tokenizer.to_dict()
        path = write_sample(tmp_path / f"{seed}", step, model, modality=modality, tokenizer=description, tokens=40)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_a_sample_is_known_by_its_step(tmp_path: Path) -> None:
    assert not has_sample(tmp_path, 12)
    sample(tmp_path, "text", 3, step=12)
    assert has_sample(tmp_path, 12)
    assert not has_sample(tmp_path, 1) and not has_sample(tmp_path, 120)


def test_a_run_writes_one_at_each_evaluation(debug: Debug, tmp_path: Path) -> None:
    settings = debug(tmp_path, sample_tokens=200)
    train(settings)
    found = {path.name: path.read_text() for path in (tmp_path / "samples").iterdir()}
    assert sorted(found) == ["step-000010.txt", "step-000020.txt"]
    assert {len(text) for text in found.values()} == {201}
    assert len(set(found.values())) == 2

    info = load_checkpoint(tmp_path / "last").info
    model = GPT(info.model).eval()
    model.load_state_dict(weights_in(load_file(tmp_path / "state.safetensors")))
    again = write_sample(tmp_path / "again", 20, model, modality="text", tokenizer=info.tokenizer, tokens=200)
    assert again.read_text() == found["step-000020.txt"]


def test_a_run_writes_none_where_none_is_wanted(debug: Debug, tmp_path: Path) -> None:
    train(debug(tmp_path, sample_tokens=0))
    assert not (tmp_path / "samples").exists()


def test_without_its_library_training_goes_on_and_says_so_once(
    debug: Debug, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, music needs miditok, which may not be installed."""
    real = builtins.__import__

    def without_miditok(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "miditok":
            raise ModuleNotFoundError("No module named 'miditok'", name="miditok")
        return real(name, *rest)

    music = import_module("waveletgpt.training.modalities.music").TRAINING_MODALITY
    monkeypatch.setattr("waveletgpt.training.modalities.text.TRAINING_MODALITY", music)
    for module in ("waveletgpt.tokenizers.midi", "miditok"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", without_miditok)
    result = train(debug(tmp_path, sample_tokens=5))
    assert result.steps == 20
    told = capsys.readouterr().out
    assert told.count("No samples: No module named 'miditok'") == 1
    assert not (tmp_path / "samples").exists()


def test_an_unknown_modality_is_refused(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["text"]
    with pytest.raises(InputError, match="'video' is not a kind of data; choose one of text, audio, music"):
        write_sample(tmp_path, 1, model_for(tokenizer), modality="video", tokenizer=tokenizer.to_dict(), tokens=3)
