"""A package that is missing is one line with the command that installs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.common.extras import import_extra
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training import compare

WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('matplotlib', 'scipy', 'pywt', 'tensorboard', 'transformers', 'trackio', 'wandb'))); "


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


@pytest.mark.parametrize(
    "module", ["app.web.page", "app.commands.generate", "training.trainer", "pretrained", "training.compare"]
)
def test_page_generation_and_training_need_no_extra(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"{WITHOUT}import waveletgpt.{module}"], check=True)
