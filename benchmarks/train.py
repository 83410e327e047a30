"""Training speed at the paper's shape, side by side on the same batches.

Contenders: our models by mixer (none, haar, canon:site=keys-values), Hugging Face transformers' GPT-2 of the same shape
and torch's own nn.TransformerEncoder, the latter two in a plain loop. Every round times one step of each, so that what
disturbs the machine disturbs all alike; ratios are over the step of `none` in the same round. Prints a table, then one
JSON object with all step times. transformers' row is left out where it is not installed.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Literal

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, check_whole, run_command
from waveletgpt.common.files import json_text
from waveletgpt.models.devices import pick_device
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.training.comparing.variants import parse_variant
from waveletgpt.training.config import OptimizerConfig
from waveletgpt.training.evaluation import token_loss
from waveletgpt.training.optimizer import Optimizers, make_optimizer
from waveletgpt.training.ranks.devices import pick_autocast, pick_precision
from waveletgpt.training.ranks.graph import Parts, StepGraph

BASELINE = "none"
WARM_UP = 4
"""Steps of each contender that are not timed. They allocate memory, compile, and capture a CUDA graph."""
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
PEAK_MEMORY = "peak-memory"
"""First argument of the child process that measures one contender's memory; its settings come on standard input."""


@dataclass(frozen=True)
class Config:
    """Training speed at the paper's shape, side by side on the same batches."""

    contenders: tuple[str, ...] = ("none", "haar", "learnable", "transformers", "torch")
    """Models to time: mixers, each NAME or NAME:FIELD=VALUE[,FIELD=VALUE] as in compare.py, transformers and torch.
    `none` must be among them: ratios are relative to it."""
    model: GPTConfig = field(default_factory=GPTConfig)
    """Shape of all contenders. --contenders sets the mixer."""
    batch_size: int = 4
    steps: int = 15
    """Timed rounds. Four rounds before them are not timed."""
    device: str = "auto"
    """auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto is what the trainer uses on this device."""
    threads: int = 0
    """CPU threads; 0 is PyTorch's default."""
    compile: bool = False
    """Compile all contenders with torch.compile on a CPU too. On CUDA devices they are, with CUDA graphs: ours as the
    trainer's steps are, the others by the mode reduce-overhead."""
    cpu_time: bool = False
    """Time the process's CPU seconds, not those of the clock: steadier on a CPU that has other work too."""
    memory: bool = True
    """Measure peak memory too, each contender in a process of its own."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.contenders:
            if name not in OTHERS:
                self.variant(name)
        if BASELINE not in self.contenders:
            raise InputError(f"--contenders must hold {BASELINE}, which the others are compared with")
        if len(set(self.contenders)) < len(self.contenders):
            raise InputError("--contenders names one twice; name each once")
        for name, least in (("batch_size", 1), ("steps", 2), ("threads", 0), ("seed", 0)):
            check_whole(f"--{name.replace('_', '-')}", getattr(self, name), least)

    def variant(self, contender: str) -> GPTConfig:
        """The settings of one of this project's models. Raises InputError if it is unknown or invalid."""
        return parse_variant(contender, "--contenders").model(self.model)


class TransformersGPT2(nn.Module):
    """Hugging Face transformers' GPT-2: learned positions, head tied to the embedding."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        with suppress(ImportError):  # transformers imports torchaudio, which needs help beside a CPU-only torch
            import_module("waveletgpt.tokenizers.audio.pure_torchaudio")
        transformers = import_module("transformers")
        theirs = transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.n_hidden,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.gpt2 = transformers.AutoModelForCausalLM.from_config(theirs, attn_implementation="sdpa")

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        logits: Tensor = self.gpt2(tokens).logits
        return logits


class TorchEncoder(nn.Module):
    """torch's nn.TransformerEncoder under a causal mask, with learned positions."""

    mask: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        E, T = config.n_embd, config.block_size
        layer = nn.TransformerEncoderLayer(
            E, config.n_head, config.n_hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.embedding, self.positions = nn.Embedding(config.vocab_size, E), nn.Embedding(T, E)
        self.encoder = nn.TransformerEncoder(layer, config.n_layer, nn.LayerNorm(E), enable_nested_tensor=False)
        self.head = nn.Linear(E, config.vocab_size, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(T), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        logits: Tensor = self.head(self.encoder(x, mask=self.mask, is_causal=True))
        return logits


OTHERS: dict[str, Callable[[GPTConfig], nn.Module]] = {"transformers": TransformersGPT2, "torch": TorchEncoder}
"""Builders of the models of other libraries."""


class Contender:
    """A model to train. This project's models use the trainer's optimizer, others PyTorch's plain AdamW."""

    def __init__(self, name: str, config: Config, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        ours, fused = name not in OTHERS, device.type == "cuda"
        self.settings = OptimizerConfig()
        self.autocast, self.device = pick_autocast(config.precision, device), device
        self.clock = time.process_time if config.cpu_time else time.perf_counter
        self.model = (GPT(config.variant(name)) if ours else OTHERS[name](config.model)).to(device)
        self.optimizer = (
            make_optimizer(self.model, self.settings)
            if ours
            else Optimizers(torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=self.settings.betas, fused=fused))
        )
        self.learn_from = self.learn
        if device.type == "cuda" and ours:
            self.model.compile()
            self.optimizer.keep_on_device()
            self.learn_from = StepGraph(self.learn, device, warm_up=WARM_UP - 1)
        elif device.type == "cuda":
            self.model.compile(mode="reduce-overhead")
        elif config.compile:
            self.model.compile()

    def learn(self, parts: Parts) -> Tensor:
        """Train on a batch in one part. Returns its loss, on the device."""
        (inputs, targets), *_ = parts
        with self.autocast():
            loss = token_loss(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def step(self, tokens: Tensor) -> float:
        """Train on `tokens` (B, T + 1). Returns the seconds until the device is done."""
        synchronize(self.device)
        started = self.clock()
        self.learn_from([(tokens[:, :-1], tokens[:, 1:])])
        synchronize(self.device)
        return self.clock() - started


def measure(config: Config) -> dict[str, Any]:
    """The whole report, JSON-able: settings, and by contender step times, ratios to `none` and peak memory."""
    device = set_up(config)
    left_out = {}
    if "transformers" in config.contenders and find_spec("transformers") is None:
        left_out["transformers"] = "not installed; pip install transformers adds its row"
    names = [name for name in config.contenders if name not in left_out]
    peaks = {name: peak_memory(name, config) for name in names} if config.memory else {}

    contenders = {name: Contender(name, config, device) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-WARM_UP, config.steps):
        tokens = batch(config, number + WARM_UP).to(device)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # so each contender comes after every other one, and meets its caches
            elapsed = contenders[name].step(tokens)
            if number >= 0:
                seconds[name].append(elapsed)

    matrix_rate = matrix_flops(config, device)
    n_tokens = config.batch_size * config.model.block_size
    flops = n_tokens * GPT(replace(config.model, mixer=BASELINE)).flops_per_token()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": pick_precision(config.precision, device),
        "threads": torch.get_num_threads(),
        "compiled": config.compile or device.type == "cuda",
        "cpu_time": config.cpu_time,
        "torch": torch.__version__,
        "shape": asdict(config.model),
        "batch_size": config.batch_size,
        "steps": config.steps,
        "matrix_flops_per_second": round(matrix_rate),
        "left_out": left_out,
        "contenders": {
            name: {
                "parameters": sum(p.numel() for p in contenders[name].model.parameters()),
                "tokens_per_second": n_tokens / median(times),
                "step_time_over_none": spread([a / b for a, b in zip(times, seconds[BASELINE], strict=True)]),
                "matrix_fraction": flops / median(times) / matrix_rate,
                "memory": peaks.get(name),
                "step_seconds": times,
            }
            for name, times in seconds.items()
        },
    }


def set_up(config: Config) -> torch.device:
    """Set threads and precision for the process, as the trainer does. Returns the device."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_float32_matmul_precision("high")
    # The models share their code, which PyTorch silently stops compiling beyond a limit.
    import_module("torch._dynamo").config.recompile_limit = 8 * (len(config.contenders) + 1)
    return pick_device(config.device)


def batch(config: Config, number: int) -> Tensor:
    """The ids (B, T + 1) that every contender trains on in a round."""
    generator = torch.Generator().manual_seed(config.seed + number)
    shape = config.batch_size, config.model.block_size + 1
    return torch.randint(config.model.vocab_size, shape, generator=generator)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return {"median": median(values), "low": low, "high": high}


def matrix_flops(config: Config, device: torch.device, repetitions: int = 5) -> float:
    """Operations per second of one large square matrix product in the run's precision: the speed that is possible."""
    size = MATRIX_SIZE.get(device.type, MATRIX_SIZE["cpu"])
    dtype = getattr(torch, pick_precision(config.precision, device))
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repetitions):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return float(2 * size**3 / median(seconds[1:]))


def peak_memory(name: str, config: Config) -> dict[str, int]:
    """Peak memory of training in a new process, and the memory of its libraries alone, in bytes."""
    child = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), PEAK_MEMORY, name],
        input=json.dumps(asdict(config)),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the memory of {name} could not be measured ({last}); --no-memory leaves it out")
    figures: dict[str, int] = json.loads(child.stdout.splitlines()[-1])
    return figures


def report_peak_memory(name: str, config: Config) -> None:
    """Run in the child process of `peak_memory`: take two steps and print the memory."""
    device = set_up(config)
    smallest = replace(config.model, n_layer=2, n_embd=2 * config.model.n_head, n_hidden=1, block_size=2, n_levels=1)
    Contender(name, replace(config, model=smallest, compile=False), device).step(torch.zeros(1, 3).long().to(device))
    libraries = 0 if device.type == "cuda" else resident("VmRSS")  # everything that a step needs is loaded
    contender = Contender(name, config, device)
    for number in range(WARM_UP):
        contender.step(batch(config, number).to(device))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")
    print(json.dumps({"peak_bytes": peak, "libraries_bytes": libraries}))


def resident(entry: str) -> int:
    """Bytes of main memory that this process uses: VmRSS now, VmHWM at its peak.

    From Linux itself: getrusage's maximum also counts the process that this one was started from.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        raise InputError("peak memory is read from /proc, which is not here; give --no-memory") from None
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{entry}:"))


def table(report: dict[str, Any]) -> Table:
    """Print the report as tables."""
    shape = report["shape"]
    view = Table(
        title=f"Training: {shape['n_layer']} blocks, {shape['n_embd']} coordinates, T = {shape['block_size']}, "
        f"batch {report['batch_size']}, {report['precision']} on {report['device']}",
        caption="step: time over that of none, median and quartiles; matrix: of the rate of large matrix products;\n"
        "peak: memory of the process; training: of it, not taken by libraries",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for column in ("", "tokens/s", "step", "quartiles", "matrix", "peak MB", "training"):
        view.add_column(column, justify="right" if column else "left", no_wrap=bool(column))
    for name, figures in report["contenders"].items():
        ratio, memory = figures["step_time_over_none"], figures["memory"]
        peaks = ("-", "-")
        if memory:
            training = memory["peak_bytes"] - memory["libraries_bytes"]
            peaks = (f"{memory['peak_bytes'] / 1e6:,.0f}", f"{training / 1e6:,.0f}")
        view.add_row(
            name,
            f"{figures['tokens_per_second']:,.0f}",
            f"{ratio['median']:.3f}",
            f"{ratio['low']:.3f}-{ratio['high']:.3f}",
            f"{figures['matrix_fraction']:.1%}",
            *peaks,
        )
    return view


def main() -> None:
    """Run the benchmark and print its results."""
    if sys.argv[1:2] == [PEAK_MEMORY]:
        settings = json.load(sys.stdin)
        settings |= {"model": GPTConfig(**settings["model"]), "contenders": tuple(settings["contenders"])}
        report_peak_memory(sys.argv[2], Config(**settings))
        return
    report = measure(parse(Config, description=__doc__))
    for name, why in report["left_out"].items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    Console().print(table(report))
    print(json_text(report))


if __name__ == "__main__":
    run_command(main)
