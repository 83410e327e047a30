"""Compiled models have the gradients of eager ones, and no mixer breaks the graph."""

import pytest
import torch
from torch import Tensor, nn

from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS

torch.set_num_threads(1)

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


class Mixed(nn.Module):
    """A mixer between two linear layers. The lower layer gets its gradient only through the mixer."""

    def __init__(self, mixer: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.below, self.mixer, self.above = nn.Linear(4, 12), ALL_MIXERS[mixer](12, 4), nn.Linear(12, 3)
        with torch.no_grad():
            for parameter in self.mixer.parameters():  # the candidates start as the identity
                parameter.add_(torch.randn_like(parameter) / 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.above(self.mixer(self.below(x)))
        return y


def gradients(model: nn.Module, inputs: Tensor, dtype: torch.dtype, *, compiled: bool) -> dict[str, Tensor]:
    """The gradient of every parameter; a graph break is an error."""
    if compiled:
        torch._dynamo.reset()
        model.compile(backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = model(inputs).float()
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (y.log_softmax(-1) * weights).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        assert right.abs().max() > 0, name
        assert (found[name] - right).abs().max() <= TOLERANCE[dtype] * right.abs().max(), name


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "mixer", [*(pytest.param(name, marks=() if name == "haar" else pytest.mark.slow) for name in ALL_MIXERS)]
)
def test_compiled_gradients_of_a_mixer_equal_eager_ones(mixer: str, dtype: torch.dtype) -> None:
    if mixer in ("db2", "sym4"):
        pytest.importorskip("pywt")
    x = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0))
    found = gradients(Mixed(mixer), x, dtype, compiled=True)
    assert_alike(found, gradients(Mixed(mixer), x, dtype, compiled=False), dtype)


@pytest.mark.slow
def test_compiled_gradients_of_a_model_equal_eager_ones() -> None:
    """The gradient passes through three blocks, down to the embedding."""

    def model() -> GPT:
        torch.manual_seed(0)
        return GPT(
            GPTConfig(
                vocab_size=11, block_size=32, n_layer=3, n_head=2, n_embd=12, n_hidden=12, mixer="haar", n_levels=4
            )
        )

    tokens = torch.randint(11, (2, 32), generator=torch.Generator().manual_seed(1))
    found = gradients(model(), tokens, torch.float32, compiled=True)
    assert_alike(found, gradients(model(), tokens, torch.float32, compiled=False), torch.float32)
    assert len(found) == len(list(model().parameters()))
