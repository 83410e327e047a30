"""The public interface: names, signatures, defaults and commands."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from waveletgpt.models.checkpoint import load_checkpoint, save_checkpoint
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.wavelet import CausalWavelet
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).with_name("waveletgpt")


def defaults(function: Any) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_gpt_config_defaults_are_the_shape_of_the_paper() -> None:
    config = GPTConfig(vocab_size=10)
    assert (config.block_size, config.n_layer, config.n_head, config.n_embd, config.n_hidden) == (512, 10, 8, 128, 512)
    assert (config.mixer, config.n_levels, config.positions) == ("none", 9, "rope")


def test_model_and_wavelet_are_called_with_one_tensor() -> None:
    model = GPT(GPTConfig(vocab_size=7, block_size=16, n_layer=2, n_embd=16, n_hidden=16, n_head=2, n_levels=3))
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 7)
    x = torch.randn(2, 5, 16)
    assert CausalWavelet(16, "haar", 3)(x).shape == x.shape


def test_generate_takes_these_settings_with_these_defaults() -> None:
    given = defaults(generate)
    assert list(given)[:3] == ["model", "prompt", "max_new_tokens"]
    assert {name: given[name] for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "seed")} == {
        "max_new_tokens": None,
        "temperature": 1.0,
        "top_k": None,
        "top_p": None,
        "min_p": None,
        "seed": 0,
    }


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("ab"), MuLawTokenizer(), MidiTokenizer()])
def test_every_tokenizer_has_the_five_members_and_is_rebuilt_from_its_dict(tokenizer: Any) -> None:
    assert callable(tokenizer.encode) and callable(tokenizer.decode)
    again = type(tokenizer).from_dict(tokenizer.to_dict())
    assert again.vocab_size == tokenizer.vocab_size and again.to_dict() == tokenizer.to_dict()


def test_checkpoint_functions_take_a_directory_first() -> None:
    assert list(defaults(save_checkpoint))[:2] == ["directory", "model"]
    assert next(iter(defaults(load_checkpoint))) == "directory"


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["app"], "port host checkpoints results device mcp"),
        (
            ["generate", "text"],
            "checkpoint recipe prompt prompt-file length temperature top-k top-p min-p seed device samples out",
        ),
    ],
)
def test_flags_of_the_command_line(arguments: list[str], flags: str) -> None:
    told = subprocess.run([COMMAND, *arguments, "--help"], capture_output=True, text=True, check=True).stdout
    assert {f"--{flag}" for flag in flags.split()} <= set(re.findall(r"--[\w-]+", told))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        *((f"prepare_{kind}", "source out") for kind in ("text", "audio", "music")),
        *((f"train_{kind}", "data out model.mixer resume preset") for kind in ("text", "audio", "music")),
        ("evaluate", "checkpoint data split"),
        ("compare", "data out mixers seeds"),
    ],
)
def test_flags_of_the_scripts(script: str, flags: str) -> None:
    command = [sys.executable, str(ROOT / "training" / f"{script}.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {f"--{flag}" for flag in flags.split()} <= set(re.findall(r"--[\w.-]+\w", told))


def test_make_app_opens_the_app_on_port_7860_unless_told_otherwise() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make here")
    inherited = ("PORT", "MFLAGS", "MAKE")  # set by `make test`, if that runs this test
    env = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    for words, port in (([], 7860), (["PORT=1234"], 1234)):
        told = subprocess.run(
            [make, "-n", "app", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip().endswith(f".venv/bin/waveletgpt app --port {port}")


@pytest.mark.slow
def test_the_app_serves_the_page_on_the_port_it_is_given(
    tiny_checkpoints: Path, free_port: int, tmp_path: Path
) -> None:
    command = [str(COMMAND), "app", "--port", str(free_port), "--checkpoints", str(tiny_checkpoints)]
    with (tmp_path / "log").open("w") as log:
        app = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)
        try:
            assert app.stdout is not None
            assert f"http://127.0.0.1:{free_port}" in app.stdout.readline(), (tmp_path / "log").read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/") as page:
                assert "waveletgpt" in page.read().decode()
        finally:
            app.terminate()
            app.wait(timeout=30)
