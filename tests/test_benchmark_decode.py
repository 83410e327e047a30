import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from waveletgpt.models.gpt import GPT
from waveletgpt.training import prepare_text

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module


def last_line(script: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *arguments], check=False, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_decoding_is_compared_at_every_batch_size() -> None:
    shape = ("--n-layer", "2", "--n-embd", "16", "--block-size", "32")
    turns = ("--batches", "1", "3", "--prompt", "20", "--tokens", "8", "--rounds", "2", "--far", "300")
    report = last_line("decode.py", *shape, *turns)
    assert set(report["batches"]) == {"1", "3"}
    for part in report["batches"].values():
        contenders = part["contenders"]
        assert {"none", "haar", "learnable", "none, plain PyTorch", "no cache (nanoGPT)"} <= set(contenders)
        assert contenders["none"]["time_over_none"] == 1
        for figures in contenders.values():
            assert 0 < figures["step_ms_p50"] <= figures["step_ms_p95"]
            assert figures["real_time"] == pytest.approx(figures["tokens_per_second"] / 16_000, abs=1e-4)
        assert contenders["no cache (nanoGPT)"]["time_over_none"] > 1
        assert part["bound"]["tokens_per_second"] > contenders["none"]["tokens_per_second"]
    assert set(report["followed"]["haar"]["ms_a_token"]) == {"100", "300"}
    assert report["start_up"]["compiling_s"] > report["start_up"]["loading_s"] > 0
    assert report["together"]["both_together"] > 0


def test_a_rolling_cache_is_what_a_single_stream_would_compute(tmp_path: Path) -> None:
    """Within the context, decoding equals a full pass. Beyond it, every position sees only the last T tokens."""
    context = load("context")
    shape = load("decode").Config(n_layer=1, n_embd=16, block_size=16).shape("none")
    torch.manual_seed(0)
    model = GPT(shape).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    ids = torch.randint(256, (2, 40))
    log_probs = context.rolling_log_probs(model, ids)
    with torch.no_grad():
        for t in (1, 7, 16, 17, 30, 39):  # with one block, only the last T tokens matter
            expected = model(ids[:, max(0, t - 16) : t])[:, -1].log_softmax(-1).gather(-1, ids[:, t, None])[:, 0]
            torch.testing.assert_close(log_probs[:, t - 1], expected, rtol=0, atol=1e-5)


def test_contexts_are_compared_on_held_out_data(tmp_path: Path, tiny_checkpoints: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text("the quick brown fox jumps over the lazy dog " * 300)
    prepare_text.prepare(prepare_text.Config(str(source), tmp_path / "data", workers=0))
    checkpoints = [str(tiny_checkpoints / f"text-{name}") for name in ("baseline", "haar")]
    flags = ("--data", str(tmp_path / "data"), "--stretches", "2", "--rounds", "2")
    report = last_line("context.py", "--checkpoints", *checkpoints, *flags)
    assert set(report) == {"text-baseline", "text-haar"}
    for of in report.values():
        ways = of["nats"]
        assert ways["rolling"]["1st half"] == pytest.approx(ways["re-reading"]["1st half"], abs=1e-3)
        assert ways["rolling"]["past the 1st"] > 0
        assert of["ms"]["rolling"] > 0


def test_the_app_serves_mixed_visitors_and_gives_up_abandoned_work(tiny_checkpoints: Path) -> None:
    flags = ("--visitors", "6", "--share", "0.1", "--abandoned", "2", "--sessions", "0")
    report = last_line("load.py", "--checkpoints", str(tiny_checkpoints), *flags)
    assert report["errors"] == []
    for kind in report["kinds"].values():
        assert kind["served"] == kind["visitors"] == 2
        assert 0 < kind["first_s_median"] <= kind["whole_s_max"]
    for of in report["abandoned"].values():
        assert of["given_up_after_s"] >= 0 and of["text_after_s"] > 0
