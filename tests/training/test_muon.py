"""BatchedMuon takes the steps of torch.optim.Muon."""

import pytest
import torch
from torch import Tensor, nn

from waveletgpt.training.muon import BatchedMuon, orthogonal

SHAPES = (24, 8), (8, 8), (8, 24), (24, 8), (8, 24), (8, 8)


def trained(kind: type[torch.optim.Muon], *, rate_is_tensor: bool = False, steps: int = 5) -> tuple[list[Tensor], ...]:
    """Matrices and momenta after some steps on gradients that change."""
    random = torch.Generator().manual_seed(0)
    matrices = [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]
    without_gradient = nn.Parameter(torch.ones(8, 8))
    muon = kind([*matrices, without_gradient], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for group in muon.param_groups:
        group["lr"] = torch.tensor(0.02) if rate_is_tensor else 0.02
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=random)
        muon.step()
    assert torch.equal(without_gradient, torch.ones(8, 8))
    return [m.detach() for m in matrices], [muon.state[m].get("momentum_buffer", m) for m in matrices]


@pytest.mark.parametrize("rate_is_tensor", [False, True])
def test_weights_and_momenta_are_those_of_muon(rate_is_tensor: bool) -> None:
    found, momenta = trained(BatchedMuon, rate_is_tensor=rate_is_tensor)
    expected, expected_momenta = trained(torch.optim.Muon)
    start, _ = trained(BatchedMuon, steps=0)
    for ours, theirs, before in zip(found, expected, start, strict=True):
        assert (ours - theirs).norm() < 0.01 * (theirs - before).norm()  # products are in bfloat16
    for ours, theirs in zip(momenta, expected_momenta, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_updates_are_nearly_orthogonal() -> None:
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    scales = torch.linalg.svdvals(orthogonal(matrices, 1e-7).float())
    assert 0.6 < scales.min() < scales.max() < 1.3
