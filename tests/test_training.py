import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import MIXERS
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training import trainer
from waveletgpt.training.config import PRESETS, OptimizerConfig, TrainConfig
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.optimizer import learning_rate, make_optimizer
from waveletgpt.training.processes import Processes
from waveletgpt.training.trainer import next_pause, train

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
TEXT = "".join(f"{i} bottles of beer on the wall, {i} bottles of beer.\n" for i in range(200))
TINY = GPTConfig(vocab_size=256, block_size=32, n_layer=2, n_head=2, n_embd=16, n_hidden=32, n_levels=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared text, small and easy to learn."""
    directory = tmp_path_factory.mktemp("data") / "bottles"
    tokenizer = CharacterTokenizer.from_text(TEXT)
    parts = {"train": TEXT[:8000], "val": TEXT[8000:9000], "test": TEXT[9000:]}
    info = DatasetInfo("text", tokenizer.to_dict(), tokenizer.vocab_size, "bits per character", "bottles", "CC0")
    write_dataset(directory, info, {split: [tokenizer.encode(text)] for split, text in parts.items()})
    return directory


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    """The debug preset on one thread of the CPU."""
    return PRESETS["debug"](**{"data": data, "out": out, "device": "cpu", "threads": 1, **changes})


def losses(run: Path) -> list[tuple[float, ...]]:
    """The metrics of a run but for the time it took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [tuple(value for name, value in line.items() if name != "seconds") for line in lines]


def in_fresh_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def refused(settings: TrainConfig, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        train(settings, **options)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_loss_falls(data: Path, tmp_path: Path, mixer: str) -> None:
    """From that of a uniform guess to less than half, on a text that repeats itself."""
    settings = config(data, tmp_path / "run", steps=150, eval_every=50)
    settings = replace(settings, model=replace(settings.model, mixer=mixer))
    result = train(settings, modality="text")
    uniform = math.log(tokenizer_from_dict(json.loads((data / "dataset.json").read_text())["tokenizer"]).vocab_size)
    assert result.val_loss < uniform / 2
    assert result.steps == 150
    first, *_, last = losses(tmp_path / "run")
    assert last[-1] == result.val_loss < first[-1] < uniform


def test_a_run_holds_what_it_promises(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    result = train(config(data, out))
    assert sorted(path.name for path in out.iterdir()) == [
        "best",
        "last",
        "metrics.jsonl",
        "run.json",
        "state.safetensors",
    ]
    settings = json.loads((out / "run.json").read_text())
    assert settings["model"]["mixer"] == "none"
    assert settings["model"]["vocab_size"] == len(set(TEXT))
    assert settings["optimizer"]["lr"] == 1e-2
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


def test_best_is_of_the_lowest_validation_loss(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: next(told))
    result = train(config(data, tmp_path, eval_every=5))
    assert (result.val_loss, result.best_val_loss) == (1.5, 1.0)
    assert load_checkpoint(tmp_path / "best").info.steps == 10
    assert load_checkpoint(tmp_path / "best").info.losses["val"] == 1.0
    assert load_checkpoint(tmp_path / "last").info.steps == 20


def test_the_same_seed_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    def weights(name: str, **changes: Any) -> bytes:
        train(config(data, tmp_path / name, **changes))
        return (tmp_path / name / "last" / "model.safetensors").read_bytes()

    first = weights("first")
    torch.rand(5)  # whatever the random state was before
    assert weights("again") == first
    assert losses(tmp_path / "again") == losses(tmp_path / "first")
    assert weights("other", seed=1) != first


def test_how_often_a_run_is_evaluated_does_not_change_its_weights(data: Path, tmp_path: Path) -> None:
    """Not even with dropout, which draws from the same random state."""
    weights = []
    for eval_every in (4, 7, 20):
        settings = config(data, tmp_path / str(eval_every), eval_every=eval_every)
        train(replace(settings, model=replace(settings.model, dropout=0.1)))
        weights.append((tmp_path / str(eval_every) / "last" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]


def stopped_after(looks: int) -> Callable[[], Any]:
    """A stand-in for `stop_requested` that is asked to stop at the trainer's `looks`-th look."""

    @contextmanager
    def stop_requested() -> Iterator[Callable[[], bool]]:
        left = iter([False] * (looks - 1))
        yield lambda: next(left, True)

    return stop_requested


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("looks", [(1,), (2,), (3,), (1, 2)])
def test_a_resumed_run_equals_an_uninterrupted_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixer: str, looks: tuple[int, ...]
) -> None:
    """Stopped at steps 10 and 20, between evaluations, at 15, with one, or twice; with dropout; bit for bit."""
    settings = config(data, tmp_path / "whole", steps=30, eval_every=15)
    settings = replace(settings, model=replace(settings.model, dropout=0.1, mixer=mixer))
    train(settings)
    parts = replace(settings, out=tmp_path / "parts")
    for count in looks:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(trainer, "stop_requested", stopped_after(count))
            train(parts)
        parts = replace(parts, resume=True)
    train(parts)
    for name in ("last/model.safetensors", "best/model.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, resumed = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


class KilledError(Exception):
    """The machine went down."""


def test_a_run_that_was_killed_goes_on_from_its_last_evaluation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(data, tmp_path / "whole"))
    computed = trainer.token_loss
    calls = iter(range(13))

    def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
        if next(calls, None) is None:
            raise KilledError
        return computed(logits, targets)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(trainer, "token_loss", token_loss)
        train(config(data, tmp_path / "parts"))
    assert load_checkpoint(tmp_path / "parts" / "last").info.steps == 10
    train(config(data, tmp_path / "parts", resume=True))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A real one, sent to a real command; what it saved is gone on from as if nothing had been."""
    flags = ["--preset", "debug", "--data", f"{data}", "--device", "cpu", "--threads", "1"]
    flags += ["--steps", "200", "--eval-every", "40"]
    command = [f"{ROOT / 'training' / 'train_text.py'}", *flags, "--out", f"{tmp_path / 'parts'}"]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "parts" / "metrics.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "error: interrupted\n"
    assert "add --resume" in out
    train(config(data, tmp_path / "parts", steps=200, eval_every=40, resume=True))
    train(config(data, tmp_path / "whole", steps=200, eval_every=40))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_a_finished_run_is_not_trained_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(config(data, tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(trainer, "token_loss", None)
    assert train(config(data, tmp_path, resume=True)) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(data: Path, tmp_path: Path) -> None:
    assert "leave --resume out" in refused(config(data, tmp_path / "run", resume=True))
    train(config(data, tmp_path / "run"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert "add --resume" in refused(config(data, tmp_path / "run"))
    other = config(data, tmp_path / "run", resume=True, steps=40, seed=1)
    message = refused(replace(other, optimizer=OptimizerConfig(lr=1e-3)))
    assert "(optimizer, steps, seed)" in message
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_is_not_resumed_on_other_data(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run"))
    info = DatasetInfo(
        **{k: v for k, v in json.loads((data / "dataset.json").read_text()).items() if k != "format_version"}
    )
    tokenizer = tokenizer_from_dict(info.tokenizer)
    ids = tokenizer.encode(TEXT[::-1])
    write_dataset(tmp_path / "other", info, {"train": [ids[:9000]], "val": [ids[:900]], "test": [ids[:900]]})
    assert "data_digests" in refused(config(tmp_path / "other", tmp_path / "run", resume=True))


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_damaged_state_is_refused(data: Path, tmp_path: Path, length: int) -> None:
    train(config(data, tmp_path))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:length])
    assert "state.safetensors cannot be resumed from" in refused(config(data, tmp_path, resume=True))


def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "no prepared data" in refused(config(tmp_path, out))
    assert "holds text; data for music is needed" in refused(config(data, out), modality="music")
    long = replace(config(data, out), model=replace(TINY, block_size=1024))
    assert "the val split has 1000 tokens; a block_size of 1024 needs at least 1025" in refused(long)
    assert "--device nonsense" in refused(config(data, out, device="nonsense"))
    if not torch.cuda.is_available():
        assert "--device cuda" in refused(config(data, out, device="cuda"))
    assert not out.exists()


def test_divergence_is_told_in_one_line_and_keeps_what_was_good(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is asked to stop just then, before the next evaluation."""
    computed = trainer.token_loss
    factors = iter([1.0] * 17)
    monkeypatch.setattr(trainer, "token_loss", lambda *arguments: computed(*arguments) * next(factors, math.nan))
    monkeypatch.setattr(trainer, "stop_requested", stopped_after(3))
    message = refused(config(data, tmp_path, steps=60, eval_every=15))
    assert "the loss is no longer finite at step 20" in message
    assert "--optimizer.lr" in message
    for name in ("best", "last"):
        checkpoint = load_checkpoint(tmp_path / name)
        assert checkpoint.info.steps == 15
        assert all(weight.isfinite().all() for weight in checkpoint.model.parameters())
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "state.safetensors").values())
    assert [line[0] for line in losses(tmp_path)] == [15]


def test_the_order_of_the_data_does_not_depend_on_the_mixer(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[int]] = {}
    window = trainer.windows_at

    for mixer in MIXERS:

        def windows_at(tokens: Any, offsets: list[int], block_size: int, mixer: str = mixer) -> Any:
            seen.setdefault(mixer, []).extend(offsets)
            return window(tokens, offsets, block_size)

        monkeypatch.setattr(trainer, "windows_at", windows_at)
        settings = config(data, tmp_path / mixer)
        train(replace(settings, model=replace(settings.model, mixer=mixer)))
    assert len(seen["none"]) == 20 * 8
    assert seen["none"] == seen["haar"] == seen["learnable"]


def test_the_training_loss_is_the_mean_since_the_last_evaluation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []
    computed = trainer.token_loss

    def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
        loss = computed(logits, targets)
        noted.append(loss.item())
        return loss

    monkeypatch.setattr(trainer, "token_loss", token_loss)
    train(config(data, tmp_path, eval_every=12))
    told = [line[2] for line in losses(tmp_path)]
    assert told == pytest.approx([sum(noted[:12]) / 12, sum(noted[12:]) / 8])


def test_training_in_bfloat16_stays_near_float32(data: Path, tmp_path: Path) -> None:
    results = {}
    for precision in ("float32", "bfloat16"):
        settings = config(data, tmp_path / precision, precision=precision, steps=60)
        settings = replace(settings, model=replace(settings.model, mixer="haar"))
        results[precision] = train(settings).val_loss
    assert results["bfloat16"] != results["float32"]
    assert results["bfloat16"] == pytest.approx(results["float32"], rel=0.03)


def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    """Under torchrun, on CPUs; sums in another order round differently, and nothing more."""
    flags = ["--preset", "debug", "--data", f"{data}", "--device", "cpu", "--threads", "1"]
    flags += ["--model.mixer", "learnable", "--out", f"{tmp_path / 'two'}"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = in_fresh_python(*launcher, f"{ROOT / 'training' / 'train_text.py'}", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained 20 steps") == 1
    settings = config(data, tmp_path / "one")
    train(replace(settings, model=replace(settings.model, mixer="learnable")))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [line[:2] for line in one] == [line[:2] for line in two]
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-4, atol=0)
    weights, expected = (load_file(tmp_path / name / "state.safetensors") for name in ("two", "one"))
    for name, weight in weights.items():
        if name.startswith("model."):
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=2e-3)


def test_a_batch_that_processes_cannot_share_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def three_processes() -> Iterator[Processes]:
        yield Processes(rank=1, world=3)

    monkeypatch.setattr(trainer, "process_group", three_processes)
    assert "3 processes cannot share it evenly" in refused(config(data, tmp_path))


@pytest.mark.parametrize(
    "modules", ["waveletgpt.training.trainer", "waveletgpt.models.generation, waveletgpt.models.checkpoint"]
)
def test_training_and_models_import_no_media_libraries(modules: str) -> None:
    done = in_fresh_python("-c", f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert {"torch", "safetensors"} <= loaded
    assert not loaded & {
        "miditok",
        "gradio",
        "symusic",
        "torchaudio",
        "soundfile",
        "pretty_midi",
        "matplotlib",
        "tyro",
    }


def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    optimizer = OptimizerConfig(lr=0.1, min_lr_ratio=0.1, warmup_steps=4)
    rates = [learning_rate(optimizer, step, 24) for step in range(24)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[14] == pytest.approx(0.055)  # half-way down
    assert rates[9] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert learning_rate(optimizer, 24, 24) == pytest.approx(0.01)
    assert learning_rate(replace(optimizer, warmup_steps=0), 0, 24) == 0.1
    assert max(learning_rate(optimizer, step, 3) for step in range(3)) == pytest.approx(0.075)  # all warm-up


def test_only_matrices_are_decayed() -> None:
    model = GPT(replace(TINY, mixer="learnable"))
    decayed, others = make_optimizer(model, OptimizerConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in names[id(p)] or names[id(p)].startswith("mixers.") for p in others["params"])
    assert all("norm" not in names[id(p)] for p in decayed["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_pauses_are_at_every_tenth_step_every_evaluation_and_the_end(tmp_path: Path) -> None:
    settings = config(tmp_path, tmp_path, steps=32, eval_every=15)
    step, pauses = 0, []
    while step < 32:
        pauses.append(step := next_pause(step, settings))
    assert pauses == [10, 15, 20, 30, 32]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("batch_size", 0),
        ("steps", 0),
        ("eval_every", -1),
        ("eval_windows", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("threads", -1),
    ],
)
def test_impossible_settings_are_refused_by_flag(setting: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--" + setting.replace("_", "-")):
        config(tmp_path, tmp_path, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0.0),
        ("lr", 1.0),
        ("lr", math.nan),
        ("min_lr_ratio", 2.0),
        ("warmup_steps", -1),
        ("weight_decay", -1.0),
        ("weight_decay", math.nan),
        ("betas", (1.0, 0.9)),
        ("betas", (0.9, -0.1)),
        ("clip", 0.0),
        ("clip", math.nan),
    ],
)
def test_impossible_settings_of_the_optimizer_are_refused_by_flag(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match="--optimizer." + setting.replace("_", "-")):
        OptimizerConfig(**{setting: value})


def test_presets_are_valid_and_the_debug_one_is_small() -> None:
    for name, preset in PRESETS.items():
        settings = preset(data=Path(), out=Path())
        assert settings.model.mixer == "none", name
    assert GPT(PRESETS["debug"](data=Path(), out=Path()).model).n_parameters() < 20_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.mixer", "db4"], "mixer is 'db4'"),
        (["--preset", "huge"], "--preset takes one of debug, cpu, paper"),
        (["--preset"], "--preset"),
        (["--optimizer.lr", "-1"], "--optimizer.lr"),
        (["--stpes", "3"], "--stpes"),
        ([], "no prepared data"),
    ],
)
def test_the_command_tells_what_is_wrong_in_one_line(
    flags: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from waveletgpt.training.command import train_command

    arguments = ["--data", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/run", *flags]
    monkeypatch.setattr(sys, "argv", ["train_text.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        train_command("text", "Train.")
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert list(tmp_path.iterdir()) == []
