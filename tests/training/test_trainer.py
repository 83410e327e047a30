"""A training run: how it learns, which files it writes, which settings it refuses."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.models.wavelet import KINDS
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import trainer
from waveletgpt.training.config import TrainConfig, training_command
from waveletgpt.training.ranks.devices import pick_precision
from waveletgpt.training.trainer import dropout_seed, next_pause, steps_within, train

ROOT = Path(__file__).parents[2]
Debug = Callable[..., TrainConfig]
Metrics = Callable[[Path], list[tuple[float, ...]]]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    "mixer", [*(pytest.param(name, marks=() if name == "learnable" else pytest.mark.slow) for name in KINDS)]
)
def test_the_loss_falls(data: Path, debug: Debug, tmp_path: Path, metrics: Metrics, mixer: str) -> None:
    """On a repetitive text the loss falls from that of a uniform guess to less than half."""
    settings = debug(tmp_path / "run", steps=150, eval_every=50)
    settings = replace(settings, model=replace(settings.model, mixer=mixer))
    result = train(settings, modality="text")
    uniform = math.log(tokenizer_from_dict(json.loads((data / "dataset.json").read_text())["tokenizer"]).vocab_size)
    assert result.val_loss < uniform / 2
    assert result.steps == 150
    first, *_, last = metrics(tmp_path / "run")
    assert last[-1] == result.val_loss < first[-1] < uniform


def test_a_run_holds_what_it_promises(debug: Debug, tmp_path: Path, bottles: str) -> None:
    out = tmp_path / "new" / "run"
    result = train(debug(out))
    names = ["best", "last", "metrics.jsonl", "run.json", "state.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names
    settings = json.loads((out / "run.json").read_text())
    assert settings["model"]["mixer"] == "none"
    assert settings["model"]["vocab_size"] == len(set(bottles))
    assert settings["optimizer"]["lr"] == 1e-2
    assert settings["changes"] == []
    assert settings["modality"] == "text"
    assert settings["command"] == training_command(settings) == training_command(settings | {"resume": True})
    assert f"--out {out}" in settings["command"] and "digests" not in settings["command"]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert [line["tokens"] for line in lines] == [10 * 8 * 64, 20 * 8 * 64]
    assert all(line.keys() == {"step", "tokens", "seconds", "train_loss", "val_loss"} for line in lines)
    assert lines[1]["seconds"] > lines[0]["seconds"] > 0
    assert result.best_val_loss == min(line["val_loss"] for line in lines)

    for name in ("best", "last"):
        checkpoint = load_checkpoint(out / name, modality="text")
        info = checkpoint.info
        assert tokenizer_from_dict(info.tokenizer).vocab_size == checkpoint.model.config.vocab_size
        assert (info.steps, info.tokens, info.seed) == (20, 20 * 8 * 64, 0)
        assert info.losses == {"train": lines[-1]["train_loss"], "val": lines[-1]["val_loss"]}
        assert info.trained_on["source"] == "bottles"
        assert info.trained_on["licence"] == "CC0"
        assert (out / name / "metrics.jsonl").read_text() == (out / "metrics.jsonl").read_text()
        card = (out / name / "README.md").read_text()
        for fact in ("bottles", "CC0", f"{checkpoint.model.n_parameters():,}", "bits per character"):
            assert fact in card


def test_best_is_of_the_lowest_validation_loss(debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    val_losses = iter([3.0, 1.0, 2.0, 1.0])
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: next(val_losses))
    result = train(debug(tmp_path, eval_every=5))
    assert (result.val_loss, result.best_val_loss) == (1.0, 1.0)
    assert load_checkpoint(tmp_path / "best").info.steps == 10  # the first of equally good ones
    assert load_checkpoint(tmp_path / "best").info.losses["val"] == 1.0
    assert load_checkpoint(tmp_path / "last").info.steps == 20


def test_a_stray_file_in_a_checkpoint_does_not_stop_a_run_and_is_kept(debug: Debug, tmp_path: Path) -> None:
    for name in ("best", "last"):
        (tmp_path / name / "ideas").mkdir(parents=True)
        (tmp_path / name / "notes.txt").write_text("dear to me")
        (tmp_path / name / "ideas" / "more.txt").write_text("dearer still")
    train(debug(tmp_path))
    for name in ("best", "last"):
        assert load_checkpoint(tmp_path / name).info.steps == 20
        assert (tmp_path / name / "notes.txt").read_text() == "dear to me"
        assert (tmp_path / name / "ideas" / "more.txt").read_text() == "dearer still"


def test_the_same_seed_gives_the_same_bytes(debug: Debug, tmp_path: Path, metrics: Metrics) -> None:
    def weights(name: str, **changes: Any) -> bytes:
        train(debug(tmp_path / name, **changes))
        return (tmp_path / name / "last" / "model.safetensors").read_bytes()

    first = weights("first")
    torch.rand(5)  # the random state before training does not matter
    assert weights("again") == first
    assert metrics(tmp_path / "again") == metrics(tmp_path / "first")
    assert weights("other", seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_neither_evaluations_nor_samples_change_what_is_learned(debug: Debug, tmp_path: Path, precision: str) -> None:
    """The run has dropout, which also draws random numbers."""
    weights = []
    for eval_every, sample_tokens in ((4, 0), (7, 0), (20, 0), (4, 12)):
        out = tmp_path / f"{eval_every}-{sample_tokens}"
        settings = debug(out, eval_every=eval_every, sample_tokens=sample_tokens, precision=precision)
        train(replace(settings, model=replace(settings.model, dropout=0.1)))
        weights.append((out / "last" / "model.safetensors").read_bytes())
    assert len(set(weights)) == 1
    assert len(list((tmp_path / "4-12" / "samples").iterdir())) == 5


def test_random_draws_are_a_function_of_seed_step_and_process() -> None:
    seeds = [dropout_seed(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(3)]
    assert len(set(seeds)) == 27
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert dropout_seed(1, 2, 0) == dropout_seed(1, 2, 0)


def test_the_training_loss_is_the_mean_since_the_last_evaluation(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    noted: list[float] = []
    computed = trainer.token_loss

    def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
        loss = computed(logits, targets)
        noted.append(loss.item())
        return loss

    monkeypatch.setattr(trainer, "token_loss", token_loss)
    train(debug(tmp_path, eval_every=12))
    means = [line[2] for line in metrics(tmp_path)]
    assert means == pytest.approx([sum(noted[:12]) / 12, sum(noted[12:]) / 8])


@pytest.mark.slow
def test_training_in_bfloat16_stays_near_float32(debug: Debug, tmp_path: Path) -> None:
    results = {}
    for precision in ("float32", "bfloat16"):
        settings = debug(tmp_path / precision, precision=precision, steps=60)
        settings = replace(settings, model=replace(settings.model, mixer="haar"))
        results[precision] = train(settings).val_loss
    assert results["bfloat16"] != results["float32"]
    assert results["bfloat16"] == pytest.approx(results["float32"], rel=0.03)


def test_run_json_has_the_precision_that_auto_stands_for(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert pick_precision("auto", cpu) == precision
        assert pick_precision("float32", cpu) == "float32"
        train(debug(tmp_path / precision, precision="auto", steps=2))
        assert json.loads((tmp_path / precision / "run.json").read_text())["precision"] == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_cuda_devices_without_native_bfloat16_compute_in_float32(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
) -> None:
    """Older devices emulate bfloat16, and is_bf16_supported() counts that as support by default."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert pick_precision("auto", torch.device("cuda")) == precision


def test_the_settings_of_the_process_are_restored(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    torch.set_float32_matmul_precision("highest")  # PyTorch's default
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    evaluated = trainer.evaluate

    def evaluate(*arguments: Any, **options: Any) -> float:
        seen.append((torch.get_num_threads(), torch.get_float32_matmul_precision()))
        return evaluated(*arguments, **options)

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    train(debug(tmp_path, threads=2, steps=1))
    assert seen == [(2, "high")]
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before == (1, "highest")


NO_COMPILER = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="there is no C++ compiler")


@pytest.mark.parametrize(
    ("backend", "mixer"),
    [
        ("aot_eager", "haar"),  # traces the forward and backward pass without compiling
        pytest.param("inductor", "haar", marks=[pytest.mark.timeout(1200), NO_COMPILER]),
    ],
)
@pytest.mark.slow
def test_a_compiled_model_learns_the_same(
    debug: Debug, tmp_path: Path, metrics: Metrics, backend: str, mixer: str
) -> None:
    losses = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
        for compiled in (False, True):
            settings = debug(tmp_path / f"{compiled}", compile=compiled)
            train(replace(settings, model=replace(settings.model, mixer=mixer)))
            losses.append(metrics(tmp_path / f"{compiled}"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-3, atol=0)


def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(
    data: Path, debug: Debug, tmp_path: Path, refused: Refused
) -> None:
    out = tmp_path / "run"
    long = GPTConfig(block_size=1024, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=5)
    assert "no prepared data" in refused(debug(out, data=tmp_path))
    assert "holds text; data for music is needed" in refused(debug(out), modality="music")
    assert "the val split has 1000 tokens; a block_size of 1024 needs at least 1025" in refused(debug(out, model=long))
    assert "--device nonsense" in refused(debug(out, device="nonsense"))
    if not torch.cuda.is_available():
        assert "--device cuda" in refused(debug(out, device="cuda"))
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(debug(tmp_path / "file"))


def test_divergence_ends_a_run_that_can_be_resumed_from_its_last_save(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: Metrics, refused: Refused
) -> None:
    computed = trainer.token_loss
    factors = iter([1.0] * 17)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "token_loss", lambda *arguments: computed(*arguments) * next(factors, math.nan))
        message = refused(debug(tmp_path, steps=60, eval_every=15))
    assert "the loss is no longer finite at step 18" in message
    assert "from step 15, the last saved, with --resume --allow-changes and a lower --optimizer.lr" in message
    for name in ("best", "last"):
        checkpoint = load_checkpoint(tmp_path / name)
        assert checkpoint.info.steps == 15
        assert all(weight.isfinite().all() for weight in checkpoint.model.parameters())
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "state.safetensors").values())
    assert [line[0] for line in metrics(tmp_path)] == [15]

    settings = debug(tmp_path, steps=60, eval_every=15, resume=True, allow_changes=True)
    result = train(replace(settings, optimizer=replace(settings.optimizer, lr=5e-3)))
    assert result.steps == 60
    assert [line[0] for line in metrics(tmp_path)] == [15, 30, 45, 60]
    changes = json.loads((tmp_path / "run.json").read_text())["changes"]
    assert changes == [{"step": 15, "before": {"optimizer.lr": 0.01}}]


def test_divergence_before_anything_is_saved(
    debug: Debug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: math.inf)
    message = refused(debug(tmp_path))
    assert "no longer finite at step 10; begin again and a lower" in message or "begin again with" in message
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "modules", ["waveletgpt.training.trainer", "waveletgpt.models.generation, waveletgpt.models.checkpoint"]
)
@pytest.mark.slow
def test_training_and_models_import_no_media_libraries(modules: str) -> None:
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert {"torch", "safetensors"} <= loaded
    media = {"miditok", "gradio", "symusic", "torchaudio", "soundfile", "pretty_midi", "matplotlib"}
    assert not loaded & {*media, "tyro", "tensorboard", "numba"}


def test_pauses_are_at_every_tenth_step_every_evaluation_and_the_end(debug: Debug, tmp_path: Path) -> None:
    settings = debug(tmp_path, steps=32, eval_every=15)

    def pauses(stride: int) -> list[int]:
        step, found = 0, []
        while step < 32:
            found.append(step := next_pause(step, settings, stride))
        return found

    assert pauses(10) == [10, 15, 20, 30, 32]
    assert pauses(7) == [7, 14, 15, 21, 28, 30, 32]
    assert pauses(1) == list(range(1, 33))


def test_slow_steps_are_looked_at_more_often() -> None:
    assert [steps_within(2.0, each) for each in (0.0, 0.01, 0.3, 0.9, 5.0)] == [10, 10, 6, 2, 1]
