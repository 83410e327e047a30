"""A package that is missing is one line with the command that installs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.common.extras import import_extra
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training import compare

EXTRAS = ("matplotlib", "scipy", "pywt", "tensorboard", "transformers", "trackio", "wandb")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS})); "


def test_a_module_that_is_there_is_imported() -> None:
    assert import_extra("scipy.stats", "compare").__name__ == "scipy.stats"


def test_a_module_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(InputError, match=r"needs pywt, which is missing; pip install 'waveletgpt\[compare\]'"):
        GPT(GPTConfig(n_layer=2, n_embd=16, n_head=2, mixer="db2"))


def test_a_comparison_that_could_not_be_reported_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="needs matplotlib"):
        compare.compare(compare.Config(data=tmp_path / "nowhere", out=tmp_path / "out"))
    assert not any(tmp_path.iterdir())


def test_page_generation_and_training_need_no_extra() -> None:
    used = ("app.web.page", "app.commands.generate", "training.trainer", "pretrained", "train", "training.compare")
    imports = "; ".join(f"import waveletgpt.{module}" for module in used)
    subprocess.run([sys.executable, "-c", WITHOUT + imports], check=True)
