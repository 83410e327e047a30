"""The parts of `gpu.sh`: what one GPU makes of training and decoding, beside the aims.

    python benchmarks/gpu.py training|layers|decoding|without-graph|transformers|summary

Each part prints a line of JSON for each figure, and adds it to $OUT/figures.jsonl; `summary` prints all beside their
aims. DEVICE is cuda by default. QUICK=1 takes tiny models and does not compile, to try the script on a CPU. Needs
neither a command line's package nor any for sound, music or the page.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from waveletgpt.models.decoding import Engine, fused_engine
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.config import PRESETS
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.trainer import train

DEVICE, QUICK = os.environ.get("DEVICE", "cuda"), bool(os.environ.get("QUICK"))
OUT = Path(os.environ.get("OUT", "."))
LAYERS = [name for name in ("haar", "learnable", "multiscale", "lagged") if name in ALL_MIXERS]
SMALL = {"block_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 16, "n_hidden": 32, "n_levels": 6}
SHAPE = GPTConfig(**(SMALL if QUICK else {}))
STREAMS = 4 if QUICK else 64
CHARACTERS = "".join(map(chr, range(32, 128)))

Aim = tuple[str, float]
AIMS: dict[str, Aim] = {
    "training, tokens/s": ("at least", 3.5e6),
    **{f"step time over none, {name}": ("at most", 1.05) for name in LAYERS},
    "decoding, 64 streams, tokens/s": ("at least", 160_000),
    "decoding, 1 stream, over the CPU's fused engine": ("at least", 1.0),
    "compiled ids equal to the CPU's, of 600": ("at least", 600),
    "validation loss, graph less none": ("at most", 0.02),
}
"""From issue 17, and the checks that what is fast is right. On a GPU rounding may part ids at a near tie."""


def figure(name: str, value: float | str) -> None:
    """Print a figure and add it to figures.jsonl."""
    line = json.dumps({"figure": name, "value": value})
    print(line, flush=True)
    with (OUT / "figures.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def prepared(directory: Path, modality: str) -> Path:
    """Data that are easy to learn: text, or samples of mu-law. They are as many as a run needs not to know them."""
    random, count = np.random.default_rng(0), 100_000 if QUICK else 4_000_000
    tokenizer: dict[str, Any] = {"kind": "mulaw", "sample_rate": 16_000, "levels": 256}
    n_ids, unit = 256, "bits per sample"
    if modality == "text":
        tokenizer, n_ids, unit = CharacterTokenizer(CHARACTERS).to_dict(), len(CHARACTERS), "bits per character"
    walk = np.cumsum(random.integers(-2, 3, count)) % n_ids  # each id is near the one before
    parts = {"train": walk[: -count // 10], "val": walk[-count // 10 : -count // 20], "test": walk[-count // 20 :]}
    info = DatasetInfo(modality, tokenizer, n_ids, unit, "a random walk", "CC0")
    write_dataset(directory, info, {split: [torch.from_numpy(ids)] for split, ids in parts.items()})
    return directory


def trained(modality: str, *, cuda_graph: bool = True) -> tuple[float, float]:
    """Tokens per second after the first evaluation, by when everything is compiled; and the last validation loss."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = prepared(Path(folder) / "data", modality), Path(folder) / "run"
        preset, steps = ("debug", 20) if QUICK else ("paper", 1200)
        config = PRESETS[preset](data=data, out=out, device=DEVICE, tensorboard=False, cuda_graph=cuda_graph)
        config = replace(config, steps=steps, eval_every=steps // 4, sample_tokens=0, augment=True)
        with redirect_stdout(sys.stderr):
            train(config)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    first, last = rows[0], rows[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"]), last["val_loss"]


def training() -> None:
    """A single run of the preset `paper`, as the trainer trains it."""
    figure("device", torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE)
    figure("torch", torch.__version__)
    speed, loss = trained("text")
    figure("training, tokens/s", round(speed))
    figure("validation loss, graph", loss)
    figure("training on audio, whose windows are changed on the CPU, tokens/s", round(trained("audio")[0]))


def without_graph() -> None:
    """The same run, its steps launched piece by piece."""
    speed, loss = trained("text", cuda_graph=False)
    figure("training without the graph, tokens/s", round(speed))
    by_graph = next((f["value"] for f in figures() if f["figure"] == "validation loss, graph"), None)
    if by_graph is not None:
        figure("validation loss, graph less none", abs(by_graph - loss))


def layers() -> None:
    """Step times of the layers over those of `none`."""
    step_times("none", *LAYERS)


def transformers() -> None:
    """The same of transformers' GPT-2, where it is installed."""
    step_times("none", "transformers")


def step_times(*contenders: str) -> None:
    """Whole steps of `benchmarks/train.py`, in turns."""
    benchmark = import_module("train")
    settings = {"device": DEVICE, "batch_size": 4 if QUICK else 64, "steps": 4 if QUICK else 40, "memory": False}
    report = benchmark.measure(benchmark.Config(contenders=contenders, model=SHAPE, **settings))
    for name in contenders[1:]:
        if (found := report["contenders"].get(name)) is None:
            continue
        figure(f"step time over none, {name}", round(found["step_time_over_none"]["median"], 4))
        figure(f"whole steps, {name}, tokens/s", round(found["tokens_per_second"]))


def decoded(model: GPT, streams: int, engine: Engine) -> float:
    """Tokens per second over two contexts, once the first tokens are there."""
    steps = generate(model, torch.zeros(streams, 1, dtype=torch.long), engine=engine)
    for _ in islice(steps, 2 * 64):  # compiles, captures and fills the queue
        pass
    count, started = 2 * SHAPE.block_size, time.perf_counter()
    for _ in islice(steps, count):
        pass
    return streams * count / (time.perf_counter() - started)


def decoding() -> None:
    """Many streams and one, and whether the ids are right."""
    torch.manual_seed(0)
    models = {mixer: GPT(replace(SHAPE, mixer=mixer)).eval() for mixer in ("none", "haar")}
    best: Engine = "graph" if QUICK else "compiled"
    on_device = {mixer: GPT(model.config).eval().to(DEVICE) for mixer, model in models.items()}
    for mixer, model in on_device.items():
        model.load_state_dict(models[mixer].state_dict())
    figure("decoding, 64 streams, tokens/s", round(decoded(on_device["none"], STREAMS, best)))
    one = decoded(on_device["none"], 1, best)
    figure("decoding, 1 stream, tokens/s", round(one))
    torch.set_num_threads(1)
    if (engine := fused_engine()) is not None and engine.supports(models["none"]):
        on_cpu = decoded(models["none"], 1, "fused")
        figure("decoding, 1 stream on the CPU, fused, tokens/s", round(on_cpu))
        figure("decoding, 1 stream, over the CPU's fused engine", round(one / on_cpu, 3))
    else:
        print("The fused engine is not here (numba), so nothing compares with it.", file=sys.stderr)
    count = 60 if QUICK else 600
    ids = [
        torch.cat([step.ids for step in generate(model, torch.zeros(1, 1, dtype=torch.long), count, engine=engine)])
        for model, engine in ((on_device["none"], best), (models["none"], "eager"))
    ]
    alike = int((ids[0] == ids[1]).long().cumprod(0).sum())
    figure("compiled ids equal to the CPU's, of 600", alike * 600 // count)
    for streams, name in ((STREAMS, "64 streams"), (1, "1 stream")):
        figure(f"decoding, {name}, graph alone, tokens/s", round(decoded(on_device["none"], streams, "graph")))
    figure("decoding, 64 streams of haar, tokens/s", round(decoded(on_device["haar"], STREAMS, best)))


def figures() -> list[dict[str, Any]]:
    """All figures so far."""
    path = OUT / "figures.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def summary() -> None:
    """All figures beside their aims; the last line is one JSON object."""
    found = {entry["figure"]: entry["value"] for entry in figures()}
    for name, (bound, aim) in AIMS.items():
        value = found.get(name)
        met = value is not None and (value >= aim if bound == "at least" else value <= aim)
        shown = "not measured" if value is None else f"{value:,}"
        print(f"{'met' if met else 'not met':8} {name}: {shown}; the aim is {bound} {aim:,}")
    print(json.dumps({"quick": QUICK, "aims": {name: aim for name, (_, aim) in AIMS.items()}, "figures": found}))


PARTS: dict[str, Callable[[], None]] = {
    "training": training,
    "layers": layers,
    "decoding": decoding,
    "without-graph": without_graph,
    "transformers": transformers,
    "summary": summary,
}

if __name__ == "__main__":
    PARTS[sys.argv[1]]()
