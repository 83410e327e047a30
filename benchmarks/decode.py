"""Decoding speed at the paper's shape, side by side in one run.

Contenders: this project's engine (none, haar, learnable), the same model step by step in plain PyTorch, transformers'
GPT-2 of the same shape with its cache through `generate()`, and the loop without a cache that nanoGPT uses; beside
them the bound set by reading weights and cache once a token. They take turns, round after round, so that what else
the machine does falls on all of them.

Prints tables, then one JSON object.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean, median, quantiles
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command
from waveletgpt.common.files import json_text
from waveletgpt.common.progress import progress_bar
from waveletgpt.models.devices import pick_device
from waveletgpt.models.generation import generate, warm_up
from waveletgpt.models.gpt import GPT, GPTConfig

SAMPLE_RATE = 16_000
MIXERS = ("none", "haar", "learnable")
COLD_START = "import time, torch; from waveletgpt.models.generation import warm_up; t = time.perf_counter(); warm_up(); print(time.perf_counter() - t)"  # noqa: E501


@dataclass(frozen=True)
class Config:
    """Decoding speed at the paper's shape: 10 blocks, 128 coordinates, 8 heads, T = 512, 256 tokens."""

    batches: tuple[int, ...] = (1, 4, 16, 64)
    """Streams decoded at once."""
    prompt: int = 256
    """Positions read before the first token."""
    tokens: int = 64
    """Tokens per stream in each round."""
    rounds: int = 7
    """Rounds. Every contender takes one turn in each. Results are medians over rounds."""
    seconds: float = 2.0
    """Longest turn. Slower contenders generate fewer tokens, but two at least."""
    far: int = 100_000
    """Length of one long stream, to see whether the time per token grows; 0 skips this."""
    threads: int = 1
    """CPU threads of PyTorch operations."""
    device: str = "auto"
    n_layer: int = 10
    n_embd: int = 128
    block_size: int = 512

    def shape(self, mixer: str) -> GPTConfig:
        """The model to decode."""
        n_levels = min(9, self.block_size.bit_length() - 1)
        return GPTConfig(
            n_layer=self.n_layer,
            n_embd=self.n_embd,
            n_hidden=4 * self.n_embd,
            block_size=self.block_size,
            n_levels=n_levels,
            mixer=mixer,
        )


Turn = Callable[[Tensor, int], Iterator[float]]
"""From a prompt (B, P) and a number of tokens to the clock time at which each token was ready."""


@dataclass
class Times:
    """Times of one contender at one batch size."""

    first: list[float] = field(default_factory=list)
    """Seconds from the prompt to the first token, by round."""
    steps: list[list[float]] = field(default_factory=list)
    """Seconds of every later step, by round."""

    def figures(self, batch: int) -> dict[str, float]:
        """The times in the units of the table."""
        every = sorted(1e3 * step for steps in self.steps for step in steps)
        speed = median(batch / fmean(steps) for steps in self.steps)
        return {
            "tokens_per_second": round(speed, 1),
            "real_time": round(speed / SAMPLE_RATE, 4),
            "step_ms_p50": round(median(every), 4),
            "step_ms_p95": round(quantiles(every, n=20)[-1] if len(every) > 1 else every[0], 4),
            "first_token_ms": round(1e3 * median(self.first), 2),
        }


def ours(model: GPT, engine: Any = "auto") -> Turn:
    """This project's generation."""

    def turn(prompt: Tensor, count: int) -> Iterator[float]:
        for _ in generate(model, prompt, count, engine=engine):
            yield time.perf_counter()

    return turn


def without_cache(model: GPT) -> Turn:
    """The loop of nanoGPT's `generate`: a full pass over the context for every token."""

    @torch.inference_mode()
    def turn(prompt: Tensor, count: int) -> Iterator[float]:
        ids = prompt
        for _ in range(count):
            logits = model(ids[:, -model.config.block_size :])[:, -1]
            new = torch.multinomial(logits.softmax(-1), 1)
            ids = torch.cat([ids, new], dim=1)
            new.cpu()
            yield time.perf_counter()

    return turn


def huggingface(config: GPTConfig, device: torch.device) -> Turn | None:
    """transformers' GPT-2 through `generate()`; None if it is not installed."""
    with suppress(ImportError):  # transformers imports torchaudio, which needs help beside a CPU-only torch
        from waveletgpt.tokenizers.audio import pure_torchaudio  # noqa: F401, PLC0415
    try:
        from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList  # noqa: PLC0415
    except ImportError:
        return None
    shape = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.block_size,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_inner=config.n_hidden,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(shape).to(device).eval()

    class Clock(LogitsProcessor):  # type: ignore[misc]
        """Notes when the logits of each token are ready. Sampling takes a few microseconds more."""

        def __init__(self) -> None:
            self.ticks: list[float] = []

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
            if device.type == "cuda":
                torch.cuda.synchronize()
            self.ticks.append(time.perf_counter())
            return scores

    def turn(prompt: Tensor, count: int) -> Iterator[float]:
        clock = Clock()
        with torch.inference_mode():
            model.generate(
                prompt.to(device),
                attention_mask=torch.ones_like(prompt, device=device),
                max_new_tokens=count,
                do_sample=True,
                top_k=0,
                use_cache=True,
                logits_processor=LogitsProcessorList([clock]),
            )
        yield from clock.ticks

    return turn


def take_turn(turn: Turn, prompt: Tensor, config: Config, times: Times, count: int) -> None:
    """Let a contender generate up to `count` tokens."""
    begun = last = time.perf_counter()
    steps: list[float] = []
    for tick in turn(prompt, count):
        if last == begun:
            times.first.append(tick - begun)
        else:
            steps.append(tick - last)
        last = tick
        if steps and time.perf_counter() - begun > config.seconds:
            break
    times.steps.append(steps)


def tokens_in(turn: Turn, prompt: Tensor, config: Config) -> int:
    """Number of tokens that fit into a turn. It is needed since transformers' `generate` cannot be stopped."""
    begun = time.perf_counter()
    list(turn(prompt, 2))
    return max(2, min(config.tokens, int(config.seconds / (time.perf_counter() - begun) * 2)))


def compare(config: Config, device: torch.device) -> dict[str, Any]:
    """Results of every contender at every batch size."""
    models = {mixer: GPT(config.shape(mixer)).to(device).eval() for mixer in MIXERS}
    contenders = {mixer: ours(model) for mixer, model in models.items()}
    if device.type == "cuda":
        contenders |= {f"{mixer}, compiled": ours(models[mixer], "compiled") for mixer in ("none", "haar")}
    contenders["none, plain PyTorch"] = ours(models["none"], "eager")
    if (gpt2 := huggingface(config.shape("none"), device)) is not None:
        contenders["transformers GPT-2"] = gpt2
    contenders["no cache (nanoGPT)"] = without_cache(models["none"])
    report: dict[str, Any] = {}
    with progress_bar("taking turns", len(config.batches) * config.rounds * len(contenders)) as advance:
        for batch in config.batches:
            prompt = torch.randint(256, (batch, config.prompt), generator=torch.Generator().manual_seed(0))
            counts = {name: tokens_in(turn, prompt.to(device), config) for name, turn in contenders.items()}
            times = {name: Times() for name in contenders}
            for _ in range(config.rounds):
                for name, turn in contenders.items():
                    take_turn(turn, prompt.to(device), config, times[name], counts[name])
                    advance(1)
            bound = bytes_a_step(models["none"], batch, config) / bandwidth(models["none"], batch, config, device)
            figures = {name: of.figures(batch) for name, of in times.items()}
            ratios = {
                name: [fmean(a) / fmean(b) for a, b in zip(of.steps, times["none"].steps, strict=True)]
                for name, of in times.items()
            }
            for name, of in ratios.items():
                figures[name]["time_over_none"] = round(median(of), 3)
            report[str(batch)] = {
                "contenders": figures,
                "bound": {"tokens_per_second": round(batch / bound, 1), "step_ms": round(1e3 * bound, 4)},
            }
    return report


def bytes_a_step(model: GPT, batch: int, config: Config) -> float:
    """Bytes of the weights, and of the part of the cache that is in use in the middle of a turn."""
    filled = min(config.block_size, config.prompt + config.tokens / 2) / config.block_size
    return 4 * model.n_parameters() + model.cache_bytes(batch) * filled


def bandwidth(model: GPT, batch: int, config: Config, device: torch.device) -> float:
    """Bytes a second at which as many bytes are read as a step needs, again and again (so from the processor's own
    cache where they fit in there): the quickest of several sums over them.
    """
    words = torch.ones(int(bytes_a_step(model, batch, config) / 4), device=device)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        float(words.sum())
        seconds.append(time.perf_counter() - started)
    return 4 * len(words) / min(seconds)


def followed(config: Config, device: torch.device) -> dict[str, Any]:
    """Milliseconds per token over two contexts, at growing positions of one stream, for each mixer."""
    span = 2 * config.block_size
    places = [place for place in (100, 1_000, 10_000, 100_000, 1_000_000) if place < config.far] + [config.far]
    report = {}
    with progress_bar("following one stream", len(MIXERS) * (config.far + span)) as advance:
        for mixer in MIXERS:
            model = GPT(config.shape(mixer)).to(device).eval()
            stream = generate(model, torch.zeros(1, 1, dtype=torch.long))
            at, figures = 0, {}
            for place in places:
                for block in range(at, place, 1000):
                    advance(sum(1 for _ in islice(stream, min(1000, place - block))))
                started = time.perf_counter()
                advance(sum(1 for _ in islice(stream, span)))
                figures[str(place)] = round(1e3 * (time.perf_counter() - started) / span, 4)
                at = place + span
            last, first = figures[str(places[-1])], figures[str(places[0])]
            report[mixer] = {"ms_a_token": figures, "late_over_early": round(last / first, 3)}
    return report


def together(config: Config, device: torch.device) -> dict[str, float]:
    """Tokens per second of a baseline and a haar model: each alone, and both at once in two threads."""
    models = [GPT(config.shape(mixer)).to(device).eval() for mixer in ("none", "haar")]
    count = 4 * config.block_size

    def write(model: GPT) -> None:
        for _ in generate(model, torch.zeros(1, 1, dtype=torch.long), count):
            pass

    def seconds(*together: GPT) -> float:
        threads = [threading.Thread(target=write, args=(model,)) for model in together]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    rounds = [(seconds(models[0]), seconds(models[1]), seconds(*models)) for _ in range(3)]
    return {
        "none_alone": round(median(count / a for a, _, _ in rounds), 1),
        "haar_alone": round(median(count / b for _, b, _ in rounds), 1),
        "both_together": round(median(2 * count / c for _, _, c in rounds), 1),
        "time_together_over_one_after_the_other": round(median(c / (a + b) for a, b, c in rounds), 3),
    }


def start_up() -> dict[str, float]:
    """Seconds until the engine is ready in a new process: when it is compiled, and when it is cached on disk."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", COLD_START]
        cold, warm = (
            float(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
            for _ in range(2)
        )
    return {"compiling_s": round(cold, 2), "loading_s": round(warm, 2)}


def show(report: dict[str, Any], console: Console) -> None:
    """Print the results as tables."""
    titles = ("tokens/s", "x real time", "ms a step: p50", "p95", "first token, ms", "time over none")
    for batch, part in report["batches"].items():
        table = Table("contender", *titles, title=f"{batch} at once")
        for name, f in part["contenders"].items():
            table.add_row(
                name,
                f"{f['tokens_per_second']:,.0f}",
                f"{f['real_time']:.3f}",
                f"{f['step_ms_p50']:.3f}",
                f"{f['step_ms_p95']:.3f}",
                f"{f['first_token_ms']:.1f}",
                f"{f['time_over_none']:.3f}",
            )
        bound = part["bound"]
        speed = bound["tokens_per_second"]
        table.add_row("bound by memory", f"{speed:,.0f}", f"{speed / SAMPLE_RATE:.3f}", f"{bound['step_ms']:.3f}")
        console.print(table)
    if "followed" in report:
        places = next(iter(report["followed"].values()))["ms_a_token"]
        table = Table("mixer", *(f"from {int(p):,}" for p in places), "late over early", title="ms a token, one stream")
        for mixer, of in report["followed"].items():
            table.add_row(mixer, *(f"{ms:.3f}" for ms in of["ms_a_token"].values()), f"{of['late_over_early']:.3f}")
        console.print(table)
    console.print("Two streams in two threads:", report["together"])
    console.print("Start-up:", report["start_up"])


def main() -> None:
    """Run the benchmark and print its results."""
    config = parse(Config, description=__doc__)
    torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    warm_up()
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": config.threads,
        "shape": {"n_layer": config.n_layer, "n_embd": config.n_embd, "block_size": config.block_size},
        "prompt": config.prompt,
        "batches": compare(config, device),
    }
    if config.far:
        report["followed"] = followed(config, device)
    report["together"] = together(config, device)
    report["start_up"] = start_up()
    show(report, Console())
    print(json_text(report))


if __name__ == "__main__":
    run_command(main)
