"""The compiled engine: its loops equal PyTorch's operations, and it takes only models that it knows."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.common.errors import InputError
from waveletgpt.models import decoding, fused, kernels
from waveletgpt.models.decoding import EagerDecoder, Engine, make_decoder, warm_up
from waveletgpt.models.fused import FusedDecoder
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS
from waveletgpt.models.wavelet import KINDS

f32 = np.float32
TINY = GPTConfig(vocab_size=11, block_size=12, n_layer=3, n_head=2, n_embd=12, n_hidden=10, n_levels=3)
PROMPT = torch.tensor([[1, 2, 3]])


def gpt(**changes: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def ids(model: GPT, length: int, **settings: Any) -> list[int]:
    return [int(step.ids) for step in generate(model, PROMPT, length, **settings)]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_the_exponential_is_exact_to_float32_rounding() -> None:
    x = np.linspace(-80, 80, 200_001).astype(f32)
    found, exact = kernels.exp.py_func(x).astype(np.float64), np.exp(x.astype(np.float64))
    assert np.abs(found / exact - 1).max() < 2e-7
    assert kernels.exp(f32(0)) == 1


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 11), (13, 6), (16, 17), (18, 54)])
def test_linear(rows: int, inputs: int, outputs: int) -> None:
    x, w, y = random(rows, inputs), random(inputs, outputs), np.full((rows, outputs), np.nan, f32)
    kernels.linear(x.numpy(), w.numpy(), y)
    torch.testing.assert_close(torch.from_numpy(y).double(), x.double() @ w.double(), rtol=0, atol=1e-5)


def test_norm() -> None:
    x, (weight, bias), y = 3 + 5 * random(7, 13), random(2, 13), np.full((7, 13), np.nan, f32)
    kernels.layer_norm(x.numpy(), weight.numpy(), bias.numpy(), y)
    torch.testing.assert_close(torch.from_numpy(y), F.layer_norm(x, (13,), weight, bias), rtol=0, atol=1e-5)


def test_gelu_however_large_its_input() -> None:
    x = torch.cat([torch.linspace(-12, 12, 1001), torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4])])[None]
    y = x.clone()
    kernels.gelu(y.numpy())
    torch.testing.assert_close(y, F.gelu(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
def test_attention_however_large_its_scores(size: float) -> None:
    """The weights range from almost uniform to 1 at a single position."""
    T, H, D = 20, 3, 6
    qkv = random(T, 3, H, D) * torch.tensor([size, size, 1.0])[:, None, None]
    keys, values, scores = np.full((H, D, T), np.nan, f32), np.full((H, D, T), np.nan, f32), np.empty(T, f32)
    y = np.full((T, H * D), np.nan, f32)
    for t in range(T):
        kernels.attend(qkv[t].flatten().numpy(), keys, values, t, scores, y[t])
    expected = F.scaled_dot_product_attention(*qkv.double().permute(1, 2, 0, 3), is_causal=True)  # (H, T, D)
    torch.testing.assert_close(torch.from_numpy(y).double(), expected.transpose(0, 1).flatten(1), rtol=0, atol=2e-5)


def test_running_sums_of_haar_do_not_drift() -> None:
    """After 200,000 inputs of very different sizes, the running sums equal the sums of the windows."""
    windows, T, last = np.array([2, 16, 512]), 200_000, 1000
    sizes = 10 ** (3 * torch.linspace(0, 20, T).cos())[:, None]
    x = 3 + random(T, 3) * sizes
    mixed = x.clone().numpy()
    ring, total = np.zeros(windows.sum(), f32), np.zeros(3)
    for t, row in enumerate(mixed):
        kernels.haar(row, ring, total, windows, t)
    for c, window in enumerate(windows):
        expected = x[-last - int(window) + 1 :, c].double().unfold(0, int(window), 1).mean(-1)
        torch.testing.assert_close(torch.from_numpy(mixed[-last:, c]).double(), expected, rtol=1e-6, atol=1e-5)


def test_a_step_of_haar_touches_as_much_whatever_the_windows() -> None:
    class Counted:
        """An array that counts the elements that are read and written."""

        def __init__(self, size: int) -> None:
            self.array, self.touched = np.zeros(size, f32), 0

        def __getitem__(self, at: int) -> Any:
            self.touched += 1
            return f32(self.array[int(at)])

        def __setitem__(self, at: int, value: Any) -> None:
            self.touched += 1
            self.array[int(at)] = value

    for windows in (np.array([2, 2, 2]), np.array([2, 32, 512])):
        ring = Counted(windows.sum())
        for t in range(3):
            kernels.haar.py_func(np.ones(3, f32), ring, np.zeros(3), windows, t)
        assert ring.touched == 3 * 3 * 2  # steps, coordinates, one read and one written


@pytest.mark.parametrize("rows_at_once", [1, 8, 13])
def test_long_readings_are_split(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading is split only between prompts, even if the limit is smaller than one prompt."""
    model, prompt = gpt(mixer="learnable"), torch.randint(11, (5, 6))
    monkeypatch.setattr(fused, "ROWS_AT_ONCE", rows_at_once)
    decoder = FusedDecoder(model)
    with torch.inference_mode():
        torch.testing.assert_close(decoder.read(prompt), model(prompt)[:, -1], rtol=0, atol=1e-5)
        further = torch.cat([prompt, prompt[:, :1]], dim=1)
        torch.testing.assert_close(decoder.step(prompt[:, 0]), model(further)[:, -1], rtol=0, atol=1e-5)


class Unchanged(nn.Module):
    """A mixer that only the eager engine knows."""

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        return x

    def new_state(self, batch: int, device: torch.device) -> None:
        return None


@pytest.fixture
def other_mixer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALL_MIXERS, "other", lambda n_embd, n_levels: Unchanged())


@pytest.mark.parametrize(
    "changes",
    [
        *({"mixer": mixer} for mixer in ALL_MIXERS),
        {"positions": "learned"},
        {"mixer": "haar", "n_layer": 1},
        {"dropout": 0.5},
    ],
)
def test_what_it_supports(changes: dict[str, Any]) -> None:
    model = gpt(**changes)
    assert fused.supports(model)
    for engine in ("auto", "fused"):
        assert isinstance(make_decoder(model, engine), FusedDecoder)
    assert isinstance(make_decoder(model, "eager"), EagerDecoder)


def with_float64_norm(model: GPT) -> GPT:
    model.norm.double()
    return model


UNSUPPORTED: dict[str, Callable[[], GPT]] = {
    "float64": lambda: gpt().double(),
    "bfloat16": lambda: gpt().bfloat16(),
    "float64 in part": lambda: with_float64_norm(gpt()),
    "another device": lambda: gpt().to("meta"),
    "dropout in training": lambda: gpt(dropout=0.5).train(),
    "another mixer": lambda: gpt(mixer="other"),
    "a mixer on keys and values": lambda: gpt(mixer="haar", site="both"),
}


@pytest.mark.usefixtures("other_mixer")
@pytest.mark.parametrize("why", UNSUPPORTED)
def test_what_it_does_not_support_is_left_to_the_eager_engine(why: str) -> None:
    model = UNSUPPORTED[why]()
    assert not fused.supports(model)
    assert isinstance(make_decoder(model), EagerDecoder)
    with pytest.raises(InputError, match="fused engine needs") as refusal:
        generate(model, PROMPT, engine="fused")
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.usefixtures("other_mixer")
def test_other_mixers_are_decoded_eagerly() -> None:
    assert ids(gpt(mixer="other"), 30) == ids(gpt(), 30)


@pytest.mark.parametrize("mixer", [name for name in ALL_MIXERS if name not in KINDS])
def test_filters_of_any_name_are_decoded(mixer: str) -> None:
    model = gpt(mixer=mixer)
    assert ids(model, 20, engine="fused") == ids(model, 20, engine="eager")


@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_more_than_a_block_is_refused(engine: Engine) -> None:
    decoder = make_decoder(gpt(mixer="haar"), engine)
    with torch.inference_mode():
        with pytest.raises(ValueError, match="13 positions do not fit in block_size 12"):
            decoder.read(torch.zeros(1, 13, dtype=torch.long))
        decoder.read(torch.zeros(1, 12, dtype=torch.long))
        with pytest.raises(ValueError, match="13 positions do not fit in block_size 12"):
            decoder.step(torch.zeros(1, dtype=torch.long))


def test_engines_that_are_no_decoders_are_refused() -> None:
    with pytest.raises(InputError, match=r"'graph'.*choose auto, eager or fused"):
        make_decoder(gpt(), "graph")
    with pytest.raises(InputError, match="'swift' is unknown; choose one of auto, eager, fused, graph"):
        make_decoder(gpt(), "swift")  # type: ignore[arg-type]


def test_without_numba_the_eager_engine_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, expected = gpt(mixer="haar"), ids(gpt(mixer="haar"), 30)
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it fails, as if it were not installed
    for module in ("fused", "kernels"):
        monkeypatch.delitem(sys.modules, f"waveletgpt.models.{module}")
    assert decoding.fused_engine() is None
    assert isinstance(make_decoder(model), EagerDecoder)
    assert ids(model, 30) == expected
    warm_up()
    with pytest.raises(InputError, match="needs the package numba"):
        generate(model, PROMPT, engine="fused")


@pytest.mark.parametrize("mixer", KINDS)
@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_the_weights_are_those_of_the_call_and_stay_as_they_were(mixer: str, positions: str) -> None:
    model = gpt(mixer=mixer, positions=positions)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected = ids(model, 40, engine="fused")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    running = generate(model, PROMPT, 40, engine="fused")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    assert [int(step.ids) for step in running] == expected
    changed = ids(model, 40, engine="fused")
    assert changed == ids(model, 40, engine="eager")
    assert changed != expected


def test_other_threads_run_while_it_reads() -> None:
    """A long reading is one call of compiled code; it must release Python's lock, or other threads would wait."""
    model = GPT(GPTConfig(vocab_size=11, mixer="haar"))
    decoder, tokens, reading = FusedDecoder(model), torch.zeros(4, 512, dtype=torch.long), threading.Event()

    def read() -> None:
        reading.set()
        decoder.read(tokens)
        reading.clear()

    ticks, thread = 0, threading.Thread(target=read)
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        ticks += reading.is_set()
    assert ticks >= 5


def test_threads_decode_side_by_side() -> None:
    model = gpt(mixer="haar")
    alone = [ids(model, 200, engine="fused", seed=seed) for seed in range(3)]
    together: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.update({seed: ids(model, 200, engine="fused", seed=seed)}))
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(3)] == alone


@pytest.mark.slow  # compiles everything anew
def test_it_compiles_where_nothing_can_be_kept() -> None:
    code = """
import torch
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []  # as where neither the program's folder nor the user's is writable
from waveletgpt.models import kernels
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT, GPTConfig
model = GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=2, n_head=1, n_embd=4, n_hidden=4, n_levels=1)).eval()
print(len(list(generate(model, torch.zeros(1, 1), 6, engine="fused"))), kernels.read.stats.cache_path)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["6", "None"]
