import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import CheckpointInfo, load_checkpoint, read_info, save_checkpoint, update_info
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.muting import muted
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training import evaluate, prepare_text
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo, write_dataset
from waveletgpt.training.prepare_text import Config
from waveletgpt.training.quality.samples import Settings

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
TINY = GPTConfig(vocab_size=256, block_size=32, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=3)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "noise"
    torch.manual_seed(0)
    info = DatasetInfo("audio", MuLawTokenizer().to_dict(), 256, "bits per sample", "noise", "CC0")
    write_dataset(out, info, {split: [torch.randint(256, (501,))] for split in SPLITS})
    return out


def checkpoint_for(data: Path, directory: Path) -> Path:
    """A checkpoint of an untrained model, in float32 so that hand computations are exact."""
    info = Dataset.open(data).info
    torch.manual_seed(0)
    model = GPT(replace(TINY, vocab_size=info.vocab_size, mixer="haar"))
    about = CheckpointInfo(info.modality, model.config, info.tokenizer)
    save_checkpoint(directory, model, about, dtype=torch.float32)
    return directory


def run(main: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["program.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(main)
    return int(stop.value.code or 0)


def test_the_loss_of_all_of_a_split_is_that_computed_by_hand(audio: Path, tmp_path: Path) -> None:
    """501 tokens hold 15 windows of 32 that do not overlap, spread evenly."""
    checkpoint = checkpoint_for(audio, tmp_path / "c")
    report = evaluate.measure(evaluate.Config(checkpoint, audio, split="test", windows=0, device="cpu"))
    tokens = torch.from_numpy(Dataset.open(audio).tokens("test").astype("int64"))
    model, losses = load_checkpoint(checkpoint).model, []
    for i in range(15):
        start = i * (501 - 33) // 14
        window = tokens[start : start + 33]
        with torch.no_grad():
            log_probs = model(window[None, :-1])[0].log_softmax(-1)
        losses += [-log_probs[t, window[t + 1]].item() for t in range(32)]
    assert report["tokens"] == len(losses) == 480
    assert report["nats_per_token"] == pytest.approx(sum(losses) / 480, rel=1e-5)
    assert report["bits_per_sample"] == pytest.approx(sum(losses) / 480 / math.log(2), rel=1e-5)


@pytest.mark.parametrize("windows", [1, 4, 7])
def test_the_loss_does_not_depend_on_the_batch_size(audio: Path, tmp_path: Path, windows: int) -> None:
    checkpoint = checkpoint_for(audio, tmp_path / "c")
    losses = [
        evaluate.measure(evaluate.Config(checkpoint, audio, windows=windows, batch_size=size, device="cpu"))
        for size in (1, 3, 16)
    ]
    assert losses[0]["tokens"] == windows * 32
    for report in losses[1:]:
        assert report["nats_per_token"] == pytest.approx(losses[0]["nats_per_token"], rel=1e-6)


def test_a_uniform_model_loses_the_logarithm_of_the_vocabulary(audio: Path, tmp_path: Path) -> None:
    info = Dataset.open(audio).info
    model = GPT(TINY)
    torch.nn.init.zeros_(model.head.weight)
    save_checkpoint(tmp_path / "c", model, CheckpointInfo("audio", TINY, info.tokenizer))
    report = evaluate.measure(evaluate.Config(tmp_path / "c", audio, device="cpu"))
    assert report["bits_per_sample"] == pytest.approx(8)


def test_muted_time_scales_are_left_out(audio: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_for(audio, tmp_path / "c")
    whole, part = (evaluate.Config(checkpoint, audio, windows=4, mute=mute, device="cpu") for mute in ("", "1"))
    dataset, model = Dataset.open(audio), muted(load_checkpoint(checkpoint).model, "1")
    expected = evaluate.split_loss(part, replace(load_checkpoint(checkpoint), model=model), dataset)[0]
    assert evaluate.measure(part)["nats_per_token"] == pytest.approx(expected)
    assert evaluate.measure(part)["mute"] == "1" and "mute" not in evaluate.measure(whole)
    assert expected != evaluate.measure(whole)["nats_per_token"]


@pytest.mark.slow
def test_evaluate_prints_one_json_object_last(text: Path, tmp_path: Path) -> None:
    """The test runs the real command."""
    checkpoint = checkpoint_for(text, tmp_path / "untrained")
    command = [f"{ROOT / 'training' / 'evaluate.py'}", "--checkpoint", f"{checkpoint}", "--data", f"{text}"]
    command += ["--split", "test", "--windows", "20", "--threads", "1", "--device", "cpu"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("tokens_per_second") > 0
    nats = report.pop("nats_per_token")
    assert nats == pytest.approx(math.log(Dataset.open(text).info.vocab_size), rel=0.05)
    assert report.pop("bits_per_character") == pytest.approx(nats / math.log(2))
    assert report == {"checkpoint": "untrained", "mixer": "haar", "split": "test", "tokens": 640}
    assert done.stderr == ""


def test_evaluate_tells_what_is_wrong_in_one_line(
    text: Path,
    audio: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, other = checkpoint_for(text, tmp_path / "text"), checkpoint_for(audio, tmp_path / "audio")
    info = load_checkpoint(good).info
    alphabet = info.tokenizer["alphabet"]
    swapped = {**info.tokenizer, "alphabet": "".join(sorted(set(alphabet) - {"a"} | {"漢"}))}
    save_checkpoint(tmp_path / "swapped", GPT(info.model), replace(info, tokenizer=swapped))
    for checkpoint, data, flags, message in (
        (tmp_path / "nowhere", text, [], "no config.json"),
        (good, tmp_path / "nowhere", [], "no prepared data"),
        (other, text, [], "is a checkpoint for audio; one for text is needed"),
        (good, audio, [], "is a checkpoint for text; one for audio is needed"),
        (tmp_path / "swapped", text, [], "different tokenizers; prepare the data again: text with --tokenizer"),
        (good, text, ["--split", "dream"], "--split"),
        (good, text, ["--windows", "-1"], "--windows"),
        (good, text, ["--batch-size", "0"], "--batch-size"),
        (good, text, ["--threads", "-1"], "--threads"),
        (good, text, ["--device", "nonsense"], "--device"),
    ):
        arguments = ["--checkpoint", f"{checkpoint}", "--data", f"{data}", *flags]
        assert run(evaluate.main, arguments, monkeypatch) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert message in shown.err


@pytest.mark.parametrize("replacement", [None, " "])
def test_a_checkpoint_is_evaluated_on_new_text_with_its_own_alphabet(
    text: Path, tmp_path: Path, replacement: str | None
) -> None:
    """What the error message of `evaluate` advises is all that is needed."""
    checkpoint = checkpoint_for(text, tmp_path / "c")
    new = "It was a dark night.\n" * 200 + ("Très sombre!" if replacement else "")
    (tmp_path / "new.txt").write_text(new, encoding="utf-8")
    prepare = Config(source=f"{tmp_path / 'new.txt'}", out=tmp_path / "own", workers=0)
    prepare_text.prepare(prepare)
    with pytest.raises(InputError, match="--tokenizer"):
        evaluate.measure(evaluate.Config(checkpoint, tmp_path / "own", device="cpu"))
    prepare_text.prepare(replace(prepare, tokenizer=checkpoint, replacement=replacement))
    report = evaluate.measure(evaluate.Config(checkpoint, tmp_path / "own", split="test", windows=0, device="cpu"))
    assert report["nats_per_token"] == pytest.approx(math.log(Dataset.open(text).info.vocab_size), rel=0.05)


def test_a_split_shorter_than_the_context_is_refused(tmp_path: Path, audio: Path) -> None:
    info = Dataset.open(audio).info
    write_dataset(tmp_path / "short", info, {split: [torch.zeros(32, dtype=torch.long)] for split in SPLITS})
    with pytest.raises(InputError, match="has 32 tokens"):
        evaluate.measure(evaluate.Config(checkpoint_for(audio, tmp_path / "c"), tmp_path / "short"))


def test_units() -> None:
    assert in_unit(math.log(2), "bits per character") == 1
    assert in_unit(2.5, "nats per event") == 2.5
    logits, targets = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    expected = F.cross_entropy(logits.view(6, 5), targets.view(6))
    from waveletgpt.training.evaluation import token_loss

    torch.testing.assert_close(token_loss(logits, targets), expected)


def test_samples_are_measured_with_the_settings_given_or_the_checkpoints_own(text: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_for(text, tmp_path / "c")
    config = evaluate.Config(checkpoint, text, windows=2, samples=3, device="cpu")
    report = evaluate.measure(config)["samples"]
    assert (report["count"], report["tokens"]) == (3, 2000)
    assert (report["temperature"], report["top_p"], report["min_p"]) == (0.8, None, None)  # the defaults for text
    assert report["known_words"]["mean"] + 0.2 < report["known_words"]["held_out"]
    update_info(checkpoint, sampling={"temperature": 0.5, "min_p": 0.1})
    own = evaluate.measure(config)["samples"]
    assert (own["temperature"], own["top_p"], own["min_p"]) == (0.5, None, 0.1)
    given = evaluate.measure(replace(config, top_p=0.9))["samples"]
    assert (given["temperature"], given["top_p"], given["min_p"]) == (0.8, 0.9, None)


def test_the_settings_whose_samples_come_closest_are_chosen_and_stored(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples at temperature 0 repeat one character; an untrained model at 1 has more variety."""
    checkpoint = checkpoint_for(text, tmp_path / "c")
    before = read_info(checkpoint)
    monkeypatch.setattr(evaluate, "GRID", [Settings(0.0), Settings(1.0, min_p=0.01), Settings(0.0, top_p=0.5)])
    report = evaluate.measure(evaluate.Config(checkpoint, text, windows=2, samples=2, device="cpu", choose=True))
    assert report["samples"]["temperature"] == 1
    assert read_info(checkpoint) == replace(before, sampling={"temperature": 1.0, "top_p": None, "min_p": 0.01})
    load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"), [({"samples": 1}, "--samples is 1"), ({"choose": True}, "add --samples")]
)
def test_impossible_samples_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate.Config(tmp_path, tmp_path, **settings)
