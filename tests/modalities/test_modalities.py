"""A kind of data is one record and one file in each of three folders; a toy kind is added to the three shipped."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from waveletgpt.app.checkpoints import find_checkpoints, load
from waveletgpt.app.commands.generate import run
from waveletgpt.app.commands.options import Generate
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.web.page import build_page
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES, Modality, find_modality
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import evaluate
from waveletgpt.training.command import train_command
from waveletgpt.training.data import Dataset
from waveletgpt.training.modalities.augmentation import augmentation
from waveletgpt.training.modalities.base import load_training_modality
from waveletgpt.training.preparing.command import PrepareConfig

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DNA = Modality(
    name="dna",
    tokenizer="bases:BaseTokenizer",
    unit="bases",
    tokens="bases",
    loss_unit="bits per base",
    temperature=0.5,
    min_p=0.1,
    package="toy",
)


@pytest.fixture
def dna(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy kind of data is registered: its folder `toy` is importable, and its record is in `MODALITIES`."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setitem(MODALITIES, "dna", DNA)


@pytest.fixture
def prepared(dna: None, tmp_path: Path) -> Path:
    (tmp_path / "genome.seq").write_text("ACGGT" * 1000)
    config = PrepareConfig(source=f"{tmp_path / 'genome.seq'}", out=tmp_path / "data", licence="CC0")
    DNA.module("training/modalities").prepare(config)
    return tmp_path / "data"


def test_a_fourth_kind_is_prepared_trained_and_generated(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = Dataset.open(prepared, modality="dna").info
    assert (info.report, info.vocab_size, info.splits["train"]["tokens"]) == ("bits per base", 4, 4500)

    out = tmp_path / "runs" / "dna"
    flags = ["--preset", "debug", "--data", f"{prepared}", "--out", f"{out}", "--augment", "--no-tensorboard"]
    plain = ["--device", "cpu", "--threads", "1", "--precision", "float32"]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags, *plain, "--sample-tokens", "30"])
    with pytest.raises(SystemExit) as end:
        train_command(None, "Train.")
    assert end.value.code in (0, None)
    samples = sorted((out / "samples").iterdir())
    assert [path.name for path in samples] == ["step-000010.seq", "step-000020.seq"]
    assert all(len(path.read_text()) == 31 and set(path.read_text()) <= set("ACGT\n") for path in samples)

    measured = evaluate.measure(evaluate.Config(checkpoint=out / "best", data=prepared, device="cpu"))
    assert measured["bits_per_base"] == pytest.approx(measured["nats_per_token"] / np.log(2))
    assert "bits per base" in (out / "best" / "README.md").read_text()

    (tmp_path / "prompt.seq").write_text("ACGGTACGGT\n")
    written = tmp_path / "new.seq"
    capsys.readouterr()
    run(Generate("dna", out / "best", prompt_file=tmp_path / "prompt.seq", length=20, out=written))
    assert written.read_text().startswith("ACGGTACGGT") and len(written.read_text()) == 31
    assert "20 bases, " in (printed := capsys.readouterr().err) and "bits per base" in printed


def test_a_fourth_kind_has_a_tab_and_an_endpoint(
    prepared: Path, tmp_path: Path, save_tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = DNA.tokenizer_class()()
    assert tokenizer_from_dict(tokenizer.to_dict()) == tokenizer
    for name, mixer in (("baseline", "none"), ("haar", "haar")):
        save_tiny(tmp_path / "models" / f"dna-{name}", "dna", tokenizer, mixer)
    (one, _) = find_checkpoints(tmp_path / "models")
    assert load(one.path, "dna", load_modality("dna").tokenizer_kind).tokenizer == tokenizer
    page = build_page(tmp_path / "models")
    assert set(page.get_api_info()["named_endpoints"]) >= {"/generate_dna", "/checkpoints", "/score"}
    settings = {getattr(block, "label", None): block.value for block in page.blocks.values() if hasattr(block, "value")}
    assert (settings["Tame to wild"], settings["Min-p"], settings["Top-p"]) == (0.5, 0.1, 1.0)
    assert settings["Length in bases"] == 40


def test_a_fourth_kind_is_augmented(dna: None) -> None:
    windows = np.tile([0, 1, 2, 3], (64, 1))
    inputs, targets = augmentation("dna", {"kind": "bases"}, seed=0)(windows, 5, range(64))
    reversed_rows = (inputs == [3, 2, 1]).all(1)
    assert 0 < reversed_rows.sum() < 64 and (inputs[~reversed_rows] == [0, 1, 2]).all()
    assert np.array_equal(targets[:, :-1], inputs[:, 1:])


def test_the_recipe_names_what_exists() -> None:
    """People follow docs/modalities.md by hand, so its paths and names must exist."""
    recipe = (ROOT / "docs" / "modalities.md").read_text()
    for name in ("common/modalities.py", "training/train.py", "training/modalities/base.py", "app/modalities/base.py"):
        assert name in recipe and (ROOT / name).exists()
    for name in ("TRAINING_MODALITY", "APP_MODALITY", "tests/modalities/toy"):
        assert name in recipe
    fields = [line.split("`")[1] for line in recipe.splitlines() if line.startswith("| `")]
    assert fields == [name for name in Modality.__dataclass_fields__ if name != "package"]


@pytest.mark.parametrize("record", MODALITIES.values(), ids=MODALITIES)
def test_a_shipped_kind_is_complete(record: Modality) -> None:
    assert find_modality(record.name) is record
    assert record.tokenizer_class().kind == record.tokenizer_kind
    assert load_training_modality(record.name).suffix.startswith(".")
    app = load_modality(record.name)
    assert (app.name, app.unit, app.loss_unit, app.temperature) == (
        record.name,
        record.unit,
        record.loss_unit,
        record.temperature,
    )


def test_unknown_kinds_are_refused() -> None:
    for find in (find_modality, load_modality, load_training_modality):
        with pytest.raises(InputError, match="'video' is not a kind of data; choose one of text, audio, music"):
            find("video")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("record", MODALITIES.values(), ids=MODALITIES)
def test_kinds_do_not_know_each_other(record: Modality) -> None:
    own = [
        ROOT / "tokenizers" / f"{record.tokenizer_kind}.py",
        *(ROOT / room / "modalities" / f"{record.name}.py" for room in ("training", "app")),
    ]
    others = {
        name
        for other in MODALITIES.values()
        if other is not record
        for name in (
            f"waveletgpt.tokenizers.{other.tokenizer_kind}",
            f"waveletgpt.training.modalities.{other.name}",
            f"waveletgpt.app.modalities.{other.name}",
        )
    }
    for path in own:
        assert not others & set(imported(path)), path


def test_records_are_quick_to_import() -> None:
    code = "import json, sys; import waveletgpt.common.modalities; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "gradio", "miditok"} & set(json.loads(done.stdout))
