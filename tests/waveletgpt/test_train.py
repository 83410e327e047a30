"""`waveletgpt train`: from files to a model in one command, which goes on where it was interrupted."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import soundfile

from waveletgpt import load
from waveletgpt.app.commands.options import Train
from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import write_midi
from waveletgpt.train import expectation, run
from waveletgpt.training.data import Dataset
from waveletgpt.training.preparing.composing import compose
from waveletgpt.training.runs.stopping import Stopped

TEXTS = [topics[name] for name in ("class", "if", "exprlists")]


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, ...]:
    """Three text files, two of which have one name."""
    paths = tuple(tmp_path / name for name in ("a/one.txt", "b/one.txt", "two.txt"))
    for path, text in zip(paths, TEXTS, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return paths


def options(kind: str, files: tuple[Path, ...], out: Path, **others: Any) -> Train:
    return Train(kind=kind, files=files, out=out, minutes=0.01, preset="debug", **others)


def test_files_become_a_model_that_can_be_opened(
    texts: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(options("text", texts, tmp_path / "run", mixer="haar", licence="PSF"))
    said = capsys.readouterr().out
    data = Dataset.open(tmp_path / "run" / "data").info
    assert sum(split["tokens"] for split in data.splits.values()) == sum(map(len, TEXTS)) + 2 * len("\n\n")
    assert (data.source, data.licence) == ("one.txt, one.txt, two.txt", "PSF")
    for told in ("characters a second on this machine", "Training: ", "Expect: ", "Test loss: ", "waveletgpt app"):
        assert told in said
    model = load(tmp_path / "run")
    assert (
        model.info.model.mixer == "haar"
        and model.info.steps == json.loads((tmp_path / "run" / "train.json").read_text())["steps"]
    )
    assert (tmp_path / "run" / "sample.txt").read_text("utf-8") in said


def test_an_interrupted_command_goes_on_to_the_same_model(
    texts: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def at_once() -> Iterator[Callable[[], bool]]:
        yield lambda: True

    monkeypatch.setattr("waveletgpt.train.STEPS_BETWEEN", 30)
    asked = options("text", texts[:1], tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("waveletgpt.training.trainer.stop_requested", at_once)
        run(asked)
    assert not (tmp_path / "run" / "best").exists()
    run(asked)
    whole = tmp_path / "whole"
    whole.mkdir()
    plan = json.loads((tmp_path / "run" / "train.json").read_text())
    plan["asked"]["out"] = f"{whole}"
    (whole / "train.json").write_text(json.dumps(plan))
    run(replace(asked, out=whole))
    weights = [(out / "best" / "model.safetensors").read_bytes() for out in (tmp_path / "run", whole)]
    assert weights[0] == weights[1]


def test_one_recording_is_cut_so_that_some_can_be_held_back(tmp_path: Path) -> None:
    tone = 0.4 * np.sin(2 * np.pi * 220 * np.arange(40_000) / 8000)
    soundfile.write(tmp_path / "tone.flac", tone, 8000)
    run(options("audio", (tmp_path / "tone.flac",), tmp_path / "run", sample_rate=4000))
    data = Dataset.open(tmp_path / "run" / "data").info
    assert sum(split["tokens"] for split in data.splits.values()) == pytest.approx(20_000, abs=20)
    assert sum(split["pieces"] for split in data.splits.values()) == 20
    assert load(tmp_path / "run").info.tokenizer["sample_rate"] == 4000
    assert soundfile.info(tmp_path / "run" / "sample.wav").samplerate == 4000


def test_pieces_of_music(tmp_path: Path) -> None:
    pieces = tuple(tmp_path / f"{seed}.mid" for seed in range(4))
    for seed, path in enumerate(pieces):
        write_midi(path, compose(seed, 30.0))
    run(options("music", pieces, tmp_path / "run"))
    assert load(tmp_path / "run" / "best").info.modality == "music" and (tmp_path / "run" / "sample.mid").is_file()
    with pytest.raises(InputError, match="at least 3 are needed"):
        run(options("music", pieces[:2], tmp_path / "few"))


def test_it_begins_with_what_a_checkpoint_knows(
    texts: tuple[Path, ...], tiny_checkpoints: Path, tmp_path: Path
) -> None:
    start = tiny_checkpoints / "text-haar"
    run(options("text", texts, tmp_path / "run", start_from=start))
    theirs, ours = load(start), load(tmp_path / "run")
    assert ours.info.tokenizer["alphabet"] == theirs.info.tokenizer["alphabet"]
    assert ours.info.model.mixer == "haar" and ours.info.steps > theirs.info.steps
    assert ours.info.seed == theirs.info.seed + 1


def test_what_to_expect_is_read_off_the_curves_of_the_shipped() -> None:
    assert "text-learnable was at 1.61" in expectation("text", 82_000_000)
    early, late = (float(expectation("text", n).rpartition(" was at ")[2].split()[0]) for n in (512_000, 8_000_000))
    assert early == pytest.approx(2.91, abs=0.01) and late == pytest.approx(1.87, abs=0.01)
    for kind in ("audio", "music"):
        assert " was at " in expectation(kind, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"files": (Path("nowhere.txt"),)}, r"^nowhere\.txt does not exist"),
        ({"files": ()}, "give files of text"),
        ({"kind": "txt"}, "train takes one of text, audio, music, not 'txt'"),
        ({"minutes": 0}, "--minutes is 0; it must be above 0"),
        ({"mixer": "haarr"}, "mixer is 'haarr'"),
        ({"start_from": Path("nowhere")}, "nowhere is not a checkpoint"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    change: dict[str, Any], told: str, texts: tuple[Path, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        run(replace(options("text", texts, tmp_path / "run"), **change))
    assert not (tmp_path / "run").exists()


def test_files_that_are_too_short_say_how_much_is_needed(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too little to learn from. " * 10)
    with pytest.raises(InputError, match=r"have 260 characters, too few .*; give 1,300 or more"):
        run(options("text", (tmp_path / "short.txt",), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_another_run_is_not_touched(texts: tuple[Path, ...], tmp_path: Path) -> None:
    run(options("text", texts, tmp_path / "run"))
    with pytest.raises(InputError, match="was begun with other files; give the same, or another --out"):
        run(options("text", texts[:1], tmp_path / "run"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds something else"):
        run(options("text", texts, tmp_path / "thesis"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
