"""Every engine gives the logits of full passes, reads each token once, and stops when it is closed."""

import copy
import gc
import itertools
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from operations import Operations
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

from waveletgpt.models import decoding, fused, kernels
from waveletgpt.models.checkpoint import load_checkpoint
from waveletgpt.models.decoding import ENGINES, Engine, GraphState
from waveletgpt.models.generation import context_start, generate
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.noise import gumbel_noise
from waveletgpt.models.sampling import Sampling
from waveletgpt.models.state import DecodingState
from waveletgpt.models.wavelet import KINDS

# On a CPU, "graph" runs the steps that CUDA would capture, without capturing them.
EVERY_ENGINE: tuple[Engine, ...] = ("eager", "fused", "graph")
TINY = GPTConfig(vocab_size=11, block_size=12, n_layer=3, n_head=2, n_embd=12, n_hidden=10, n_levels=3)
ODD = GPTConfig(vocab_size=11, block_size=9, n_layer=3, n_head=3, n_embd=18, n_hidden=13, n_levels=3)
TOLERANCE = 1e-5
SHIPPED = Path(__file__).parents[2] / "checkpoints"
SLOW = pytest.mark.slow


def gpt(config: GPTConfig = TINY, std: float = 0.3, **changes: Any) -> GPT:
    """A model in which every weight counts: norms have biases, and learnable kernels are not Haar's."""
    torch.manual_seed(0)
    model = GPT(replace(config, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = std * torch.randn_like(parameter)
            parameter.copy_(noise if parameter.ndim > 1 else parameter + noise / 2)
    return model


def traced(model: GPT, prompt: Tensor, length: int, engine: Engine, **settings: Any) -> tuple[Tensor, Tensor]:
    """New ids (B, length), and the logits (B, length, V) that they were drawn from."""
    logits: list[Tensor] = []
    draw = Sampling.draw

    def recorded(self: Sampling, found: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        logits.append(found.clone())
        return draw(self, found, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampling, "draw", recorded)
        steps = list(generate(model, prompt, length, engine=engine, **settings))
    return torch.stack([step.ids for step in steps], dim=1), torch.stack(logits, dim=1)


@torch.inference_mode()
def full_passes(model: GPT, tokens: Tensor, first: int) -> Tensor:
    """The logits (B, T - first, V) for `tokens` (B, T) from position `first` on, one full pass for each token."""
    starts = [context_start(t, model.config.block_size) for t in range(tokens.shape[1])]
    nothing = torch.zeros(len(tokens), model.config.vocab_size)
    return torch.stack(
        [model(tokens[:, starts[t] : t])[:, -1] if t else nothing for t in range(first, tokens.shape[1])], dim=1
    )


@pytest.mark.parametrize(("batch", "temperature"), [(1, 1.0), (4, 0.0)])
@pytest.mark.parametrize(
    "prompt_length", [0, 31, *(pytest.param(length, marks=pytest.mark.slow) for length in (5, 12))]
)
@pytest.mark.parametrize(
    ("mixer", "positions"), [("none", "learned"), ("haar", "rope"), ("learnable", "rope"), ("dyadic", "learned")]
)
def test_decoding_equals_full_passes(
    mixer: str, positions: str, prompt_length: int, batch: int, temperature: float
) -> None:
    """Generation fills the context twice, after prompts shorter and longer than one context."""
    model, length = gpt(mixer=mixer, positions=positions), 2 * TINY.block_size
    prompt = torch.randint(11, (batch, prompt_length))
    noise = gumbel_noise(4, range(batch), range(length), 11).transpose(0, 1)
    expected = None
    for engine in EVERY_ENGINE:
        ids, logits = traced(model, prompt, length, engine, temperature=temperature, seed=4)
        if expected is None:
            expected = full_passes(model, torch.cat([prompt, ids], dim=1), prompt_length)
            assert torch.equal(ids, (expected + noise if temperature else expected).argmax(-1))
            first_ids = ids
        assert torch.equal(ids, first_ids), engine
        assert torch.equal(logits.argmax(-1), expected.argmax(-1)), engine
        torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch", range(1, 6))
def test_the_fused_engine_takes_any_shape(batch: int) -> None:
    """Its loops take four elements at once; these heads, widths and rows are no multiples of four."""
    model, prompt = gpt(ODD, mixer="learnable"), torch.randint(11, (batch, batch))
    ids, logits = traced(model, prompt, 3 * 9, "fused", seed=batch)
    expected = full_passes(model, torch.cat([prompt, ids], dim=1), batch)
    torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize(
    "changes",
    [
        {"block_size": 2, "n_levels": 1},
        {"block_size": 3, "n_levels": 1},
        {"n_layer": 1},
        {"vocab_size": 1},
        {"n_head": 1, "n_embd": 2, "n_hidden": 1},
    ],
)
def test_the_smallest_models(engine: Engine, changes: dict[str, Any]) -> None:
    model, prompt = gpt(mixer="haar", **changes), torch.zeros(3, 2, dtype=torch.long)
    ids, logits = traced(model, prompt, 20, engine)
    expected = full_passes(model, torch.cat([prompt, ids], dim=1), 2)
    torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_what_leaves_a_window_leaves_no_trace(engine: Engine) -> None:
    """Token 0 is a million times as large as others, so float32 running sums that subtract it would stay wrong."""
    model = gpt(mixer="haar", n_layer=2, n_levels=2)
    with torch.no_grad():
        model.embedding.weight[0, 6:] *= 1e6
        model.head.weight[0] = 0
    ids, logits = traced(model, torch.tensor([[0]]), 11, engine, top_k=5, seed=1)
    expected = full_passes(model, torch.cat([torch.tensor([[0]]), ids], dim=1), 1)
    assert (ids > 0).all()
    torch.testing.assert_close(logits[:, 4:], expected[:, 4:], rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def window_passes(model: GPT, tokens: Tensor, first: int) -> Tensor:
    """The logits of `full_passes`, with one pass for all tokens of a context; causal models make them equal."""
    T = tokens.shape[1]
    groups = itertools.groupby(range(first, T), lambda t: context_start(t, model.config.block_size))
    parts = []
    for start, members in groups:
        times = list(members)
        parts.append(model(tokens[:, start : times[-1]])[:, times[0] - 1 - start :])
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_the_paper_s_windows(engine: Engine) -> None:
    """Generation passes the end of a context of 512, where all 512 positions of the longest kernel are in use."""
    model, prompt = gpt(GPTConfig(vocab_size=88, n_layer=4), std=0.06, mixer="learnable"), torch.randint(88, (1, 490))
    ids, logits = traced(model, prompt, 40, engine)
    expected = window_passes(model, torch.cat([prompt, ids], dim=1), 490)
    assert expected.std() > 0.3
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))
    torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)


SHIPPED_MODELS = ("text-haar", "audio-recorded-baseline", "music-haar")


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=() if name == "music-haar" else pytest.mark.slow) for name in SHIPPED_MODELS)]
)
def test_trained_models_lose_nothing(name: str) -> None:
    """Trained models have logits of up to 25, so float32 rounding exceeds 1e-5. Compared with float64 passes,
    cached decoding is as exact as a full pass in float32, up to a small factor.
    """
    model = load_checkpoint(SHIPPED / name).model
    length = 40
    prompt, _ = traced(model, torch.zeros(1, 0, dtype=torch.long), 490, "fused")
    for engine in EVERY_ENGINE:
        ids, logits = traced(model, prompt, length, engine, seed=1)
        if engine == EVERY_ENGINE[0]:
            tokens = torch.cat([prompt, ids], dim=1)
            exact = window_passes(copy.deepcopy(model).double(), tokens, 490)
            rounding = (window_passes(model, tokens, 490) - exact).abs().max()
            assert rounding < 2e-4
        assert torch.equal(ids, tokens[:, 490:])
        assert (logits - exact).abs().max() < 4 * rounding


class Readings:
    """Notes the shape (B, P) of each batch of tokens that any engine gives to the model."""

    def __init__(self, model: GPT, patch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, ...]] = []
        read: Any = kernels.read
        tokens_at = read.py_func.__code__.co_varnames.index("tokens")

        def recorded(*arguments: Any) -> None:
            self.shapes.append(arguments[tokens_at].shape)
            read(*arguments)

        patch.setattr(fused, "read", recorded)
        model.register_forward_pre_hook(lambda _, arguments: self.shapes.append(tuple(arguments[0].shape)))


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize(
    ("prompts", "prompt_length"),
    [(1, 0), (2, 7), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 1), (1, 12), (2, 30)))],
)
def test_samples_share_the_reading_of_their_prompt(
    engine: Engine, prompts: int, prompt_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several samples of one prompt equal the samples of its copies. The prompt is read once, then one token at a
    time for every sample, and half a context when the context is full.
    """
    model, prompt = gpt(mixer="haar"), torch.randint(11, (prompts, prompt_length))
    separate, separate_logits = traced(model, prompt.repeat(3, 1), 30, engine, seed=7)
    readings = Readings(model, monkeypatch)
    ids, logits = traced(model, prompt, 30, engine, seed=7, samples=3)
    assert torch.equal(ids, separate)
    torch.testing.assert_close(logits, separate_logits, rtol=0, atol=TOLERANCE)
    starts = [context_start(t, TINY.block_size) for t in range(prompt_length + 30)]
    expected = [(prompts, prompt_length - starts[prompt_length])] if prompt_length else []
    for t in range(prompt_length + 1, prompt_length + 30):
        expected.append((3 * prompts, 1 if starts[t] == starts[t - 1] else t - starts[t]))
    assert readings.shapes == expected


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_closing_stops_the_work_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    model = gpt(mixer="haar")
    readings = Readings(model, monkeypatch)
    steps = generate(model, torch.tensor([[1, 2, 3]]), engine=engine)
    assert readings.shapes == []  # no work before the first step is requested
    for _ in itertools.islice(steps, 5):
        pass
    done = len(readings.shapes)
    assert done == 5 or (engine == "graph" and 5 < done <= 5 + 2 * decoding.STEPS_AHEAD)
    steps.close()  # type: ignore[attr-defined]
    assert next(steps, None) is None
    assert len(readings.shapes) == done


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Weak references to all tensors and arrays of the engines' caches."""
    made: list[weakref.ref[Any]] = []
    new_state, new_memory = GPT.new_state, fused.FusedDecoder._new_memory

    def state(self: GPT, batch: int) -> DecodingState:
        result = new_state(self, batch)
        for part in (*result.caches, *(mixer for mixer in result.mixers if mixer is not None)):
            made.extend(weakref.ref(value) for value in vars(part).values() if isinstance(value, Tensor))
        return result

    def memory(self: fused.FusedDecoder, batch: int) -> Any:
        result = new_memory(self, batch)
        made.extend(weakref.ref(array) for array in result)
        return result

    monkeypatch.setattr(GPT, "new_state", state)
    monkeypatch.setattr(fused.FusedDecoder, "_new_memory", memory)
    return made


def held(memories: list[weakref.ref[Any]]) -> int:
    """The bytes of caches that have not been freed."""
    return sum(value.nbytes for memory in memories if (value := memory()) is not None)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("how", ["closed", "dropped", "at its end"])
def test_the_memory_is_freed(engine: Engine, how: str, memories: list[weakref.ref[Any]]) -> None:
    steps = generate(gpt(mixer="haar"), torch.tensor([[1, 2, 3]]), 5 if how == "at its end" else None, engine=engine)
    for _ in itertools.islice(steps, 4):
        assert held(memories)
    if how == "closed":
        steps.close()  # type: ignore[attr-defined]
    elif how == "dropped":
        del steps
    else:
        assert len(list(steps)) == 1
    assert not held(memories)


@pytest.mark.slow
@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("mixer", KINDS)
def test_the_memory_does_not_grow(engine: Engine, mixer: str, memories: list[weakref.ref[Any]]) -> None:
    """The memory is constant while tokens are read. A wavelet's is in proportion to its longest window, 2**n_levels."""
    for n_levels in (1, 2, 3):
        memories.clear()
        steps = generate(gpt(mixer=mixer, n_levels=n_levels), torch.tensor([[1, 2, 3]]), 100, engine=engine)
        sizes = {held(memories) for _ in steps}
        assert len(sizes) == 1
        coordinates, cache = 2 * 6, 3 * 2 * 12 * 12  # elements in all layers
        most = cache if mixer == "none" else cache + coordinates * (3 * 2**n_levels + 4)
        assert 4 * cache <= sizes.pop() <= 4 * most


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_other_streams_beside_it_change_nothing(engine: Engine) -> None:
    """Two streams of one model take turns, step by step."""
    model, prompt = gpt(mixer="learnable"), torch.tensor([[1, 2, 3]])
    alone = [traced(model, prompt, 40, engine, seed=seed)[0][0].tolist() for seed in (1, 2)]
    streams = [generate(model, prompt, 40, engine=engine, seed=seed) for seed in (1, 2)]
    together = [[int(step.ids) for step in steps] for steps in zip(*streams, strict=True)]
    assert [list(ids) for ids in zip(*together, strict=True)] == alone


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes torch.compile trace without generating code, which takes long. Returns an element for each graph."""
    graphs, compile_ = list[int](), torch.compile

    def counted(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(len(inputs))
        return aot_eager(graph, inputs)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", lambda f, **_: compile_(f, backend=counted, dynamic=False, fullgraph=True))
    return graphs


@pytest.mark.parametrize(
    "mixer", ["haar", *(pytest.param(mixer, marks=SLOW) for mixer in ("none", "learnable", "dyadic"))]
)
def test_a_compiled_step_draws_the_ids_of_the_other_engines(mixer: str, traced_only: list[int]) -> None:
    """It is compiled once and not for every token, nor again for another stream of as many samples."""
    model, prompt = gpt(mixer=mixer), torch.randint(11, (2, 5))
    for seed in (1, 2):
        ids, _ = traced(model, prompt, 30, "eager", seed=seed, samples=2, top_k=5, repetition_penalty=1.2)
        steps = generate(model, prompt, 30, engine="compiled", seed=seed, samples=2, top_k=5, repetition_penalty=1.2)
        assert torch.equal(torch.stack([step.ids for step in steps], dim=1), ids)
    assert len(traced_only) == 1


def test_a_compiled_step_keeps_no_memory(traced_only: list[int], memories: list[weakref.ref[Any]]) -> None:
    steps = generate(gpt(mixer="haar"), torch.tensor([[1, 2, 3]]), engine="compiled")
    for _ in itertools.islice(steps, 4):
        assert held(memories)
    steps.close()  # type: ignore[attr-defined]
    gc.collect()
    assert not held(memories)


@pytest.mark.slow
def test_a_compiled_step_draws_the_same_ids_by_generated_code() -> None:
    torch._dynamo.reset()
    model, prompt = gpt(mixer="haar"), torch.randint(11, (2, 5))
    expected = traced(model, prompt, 30, "eager")[0]
    found = [step.ids for step in generate(model, prompt, 30, engine="compiled")]
    assert torch.equal(torch.stack(found, dim=1), expected)


WAITING = {"item", "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh"}


@pytest.mark.parametrize("positions", ["rope", "learned"])
@pytest.mark.parametrize("mixer", KINDS)
def test_a_step_never_waits_for_the_host(mixer: str, positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that CUDA captures has no operation whose result the host must wait for."""
    operations, step = Operations(), GraphState._step

    def watched(self: GraphState) -> None:
        with operations:
            step(self)

    monkeypatch.setattr(GraphState, "_step", watched)
    everything: dict[str, Any] = {"temperature": 0.9, "top_k": 8, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1}
    for settings in (everything, {"temperature": 0.0}):
        list(generate(gpt(mixer=mixer, positions=positions), torch.tensor([[1, 2, 3]]), 5, engine="graph", **settings))
    assert operations.seen >= {"index_copy_", "argmax"}
    assert operations.seen.isdisjoint(WAITING)


@pytest.mark.parametrize("prompt_length", [0, 5])
@pytest.mark.parametrize("mixer", KINDS)
def test_what_capturing_tries_out_is_forgotten(mixer: str, prompt_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some warm-up steps run before a CUDA graph is captured; they must not change later results."""
    model, prompt = gpt(mixer=mixer), torch.randint(11, (1, prompt_length))
    expected = traced(model, prompt, 30, "graph")
    begin = GraphState.__init__

    def tried_out(self: GraphState, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._read(torch.ones(1, 1, dtype=torch.long), 1)
        self._step()
        self._step()

    monkeypatch.setattr(GraphState, "__init__", tried_out)
    found = [part[:, -30:] for part in traced(model, prompt, 30, "graph")]
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


class FakeGraph:
    """Stands in for a CUDA graph; notes how it is captured, and whether two threads capture at once."""

    captures: ClassVar[list[str]] = []
    capturing = threading.Lock()

    def __init__(self, graph: Any, capture_error_mode: str = "global") -> None:
        self.captures.append(capture_error_mode)

    def __enter__(self) -> None:
        assert self.capturing.acquire(blocking=False), "two captures at once"
        time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.capturing.release()


def test_graphs_are_captured_one_at_a_time_and_let_other_threads_use_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gpt(mixer="haar")
    monkeypatch.setattr(FakeGraph, "captures", [])
    for name in ("Stream", "current_stream", "stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, mock.MagicMock())
    monkeypatch.setattr(torch.cuda, "graph", FakeGraph)

    @torch.inference_mode()
    def capture() -> None:
        GraphState(model, torch.tensor([[1, 2, 3]]), Sampling(), range(1))._captured()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(capture) for _ in range(3)]:
            done.result()
    assert FakeGraph.captures == 3 * ["thread_local"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device to capture a graph on")
def test_threads_generate_side_by_side_on_cuda() -> None:
    model, prompt = gpt(mixer="haar").cuda(), torch.tensor([[1, 2, 3]])

    def ids(seed: int) -> list[int]:
        return [int(step.ids) for step in generate(model, prompt, 100, engine="graph", seed=seed)]

    alone = [ids(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ids, range(4))) == alone


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device to capture a graph on")
@pytest.mark.parametrize("mixer", KINDS)
def test_cuda_equals_the_cpu(mixer: str) -> None:
    model = gpt(mixer=mixer)
    settings: dict[str, Any] = {"samples": 3, "seed": 4, "repetition_penalty": 1.1}
    on_cuda = copy.deepcopy(model).cuda()
    for prompt_length, engine in itertools.product((0, 1, 5, 30), set(ENGINES) - {"fused"}):
        prompt = torch.randint(11, (2, prompt_length))
        expected = list(generate(model, prompt, 150, engine="eager", **settings))
        found = list(generate(on_cuda, prompt, 150, engine=engine, **settings))
        assert torch.equal(torch.stack([step.ids for step in found]), torch.stack([step.ids for step in expected]))
        log_probs = [torch.stack([step.log_probs for step in steps]) for steps in (found, expected)]
        torch.testing.assert_close(*log_probs, rtol=0, atol=1e-4)
