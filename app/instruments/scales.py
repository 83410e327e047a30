"""What each level of each wavelet layer holds over time: a scalogram of a result or a file.

Shapes: N tokens, K columns of time, C filtered coordinates, E embedding.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from waveletgpt.models.generation import windows
from waveletgpt.models.gpt import GPT
from waveletgpt.models.muting import levels_of, wavelet_of

COLUMNS = 500


@dataclass(frozen=True)
class Scalogram:
    """How far each level is from its mean over the piece."""

    levels: list[int]
    """Rising; level l averages 2^l tokens."""
    values: NDArray[np.float32]
    """(layers, levels, K): root mean square over the level's coordinates and over the tokens of a column."""


def even_columns(count: int) -> Tensor:
    """A column for each of `count` tokens, (count,), at most `COLUMNS` of them."""
    columns = min(COLUMNS, count)
    return torch.arange(count) * columns // max(1, count)


class _Recorder(nn.Module):
    """Keeps what a layer gave last."""

    given: Tensor

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        self.given = self.mixer(x, state)
        return self.given


@torch.inference_mode()
def scalogram(model: GPT, ids: Tensor, columns: Tensor) -> Iterator[Scalogram | None]:
    """Read tokens as `score` does, and collect what the layers give.

    Args:
        model: with wavelet layers.
        ids: (N,), N > 0.
        columns: (N,) the column of each token, never falling; -1 leaves it out. A column without a token is like the
            one before it.

    Yields:
        None after each window that is read, at last the scalogram.
    """
    block, device = model.config.block_size, model.embedding.weight.device
    count = int(columns.max()) + 1
    wavelets = [wavelet_of(mixer) for mixer in model.mixers]
    width = wavelets[0].width
    sums, squares = torch.zeros(2, len(wavelets), count, width, dtype=torch.float64)
    recorders = [_Recorder(mixer) for mixer in model.mixers]
    recorded = copy.copy(model)  # with the same weights; others may use the model meanwhile
    recorded._modules = {**model._modules, "mixers": nn.ModuleList(recorders)}
    for start, first, end in windows(len(ids), block):
        recorded(ids[None, start:end].to(device))
        column = columns[first:end]
        inside = column >= 0
        for layer, recorder in enumerate(recorders):
            new = recorder.given[0, first - start :, -width:].double().cpu()[inside]
            sums[layer].index_add_(0, column[inside], new)
            squares[layer].index_add_(0, column[inside], new**2)
        yield None
    counts = torch.bincount(columns[columns >= 0], minlength=count)[:, None]
    mean = sums.sum(1, keepdim=True) / counts.sum()
    squared = (squares - 2 * mean * sums) / counts.clamp(min=1) + mean**2  # (layers, K, C)
    filled = counts[:, 0] > 0
    last = torch.cummax(torch.arange(count) * filled, 0).values  # the column before an empty one
    last = last.clamp(min=int(filled.int().argmax()))
    levels, by_coordinate = levels_of(model), wavelets[0].levels.cpu()
    rows = [squared[:, last][..., by_coordinate == level].mean(-1).clamp(min=0).sqrt() for level in levels]
    yield Scalogram(levels, torch.stack(rows, dim=1).float().numpy())
