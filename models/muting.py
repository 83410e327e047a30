"""Models whose wavelet layers between the blocks are partly silenced, to hear what a time scale carries.

Layers on keys and values (`GPTConfig.site`) are not silenced.

A word such as "9" mutes level 9, windows of 2^9 tokens, in all layers; "3:" all levels of layer 3, counted from 1;
"3:9" one level of one layer. Words are joined by commas.
"""

import copy
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from waveletgpt.common.errors import InputError, quoted
from waveletgpt.models.filters.base import CausalFilter
from waveletgpt.models.gpt import GPT
from waveletgpt.models.wavelet import CausalWavelet

WORD = re.compile(r"(?:(\d{1,4}):)?(\d{0,4})")


class MutedFilter(CausalFilter):
    """A filter of which some coordinates are 0. They all decode in the fused engine."""

    def __init__(self, whole: CausalWavelet, keep: Tensor) -> None:
        """`keep` (C,) has a factor, 0 or 1, for each filtered coordinate."""
        super().__init__(whole.lengths)
        self.whole, self.keep = whole, keep

    def mix(self, x: Tensor) -> Tensor:
        """Filter the last C coordinates of x (B, T, E), then mute."""
        y = self.whole.mix(x)
        return torch.cat([y[..., : -self.width], y[..., -self.width :] * self.keep], dim=-1)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W), 0 where the coordinate is muted."""
        return self.whole.kernel_matrix() * self.keep[:, None]


def levels_of(model: GPT) -> list[int]:
    """The levels of a model's wavelet layers, rising; none for a baseline and for other layers."""
    first = next(iter(model.mixers), None)
    if not isinstance(first, MutedFilter | CausalWavelet) or wavelet_of(first).kind == "none":
        return []
    return sorted(set(wavelet_of(first).levels.tolist()))


def wavelet_of(mixer: nn.Module) -> CausalWavelet:
    """The wavelet layer that a layer is or mutes. Raises ValueError for another layer."""
    if isinstance(mixer, MutedFilter):
        return mixer.whole
    if isinstance(mixer, CausalWavelet):
        return mixer
    raise ValueError(f"{type(mixer).__name__} is no wavelet layer")


def muted(model: GPT, words: str) -> GPT:
    """A copy of a model without the levels and layers that `words` name; the model itself for "".

    Raises:
        InputError: there is no such level or layer.
    """
    if not words:
        return model
    levels, n_layers = levels_of(model), len(model.mixers)
    if not levels:
        raise InputError(f"a model with the layer {model.config.mixer} has no levels to mute; choose a wavelet")
    silent = [_parsed(word, levels, n_layers) for word in words.split(",")]
    silenced = copy.deepcopy(model)
    mixers = []
    for number, mixer in enumerate(silenced.mixers, start=1):
        gone = [level for layer, named in silent if layer in {0, number} for level in named]
        wavelet = wavelet_of(mixer)
        keep = ~torch.isin(wavelet.levels, torch.tensor(gone, device=wavelet.levels.device))
        mixers.append(MutedFilter(wavelet, keep.float()))
    silenced.mixers = nn.ModuleList(mixers)
    return silenced.eval()


def _parsed(word: str, levels: list[int], n_layers: int) -> tuple[int, list[int]]:
    """A layer, 0 for all, and its levels."""
    found = WORD.fullmatch(word)
    if not found or word in {"", ":"}:
        raise InputError(
            f"{quoted(word)} names no time scale; give a level such as 9, a layer such as 3:, or both, 3:9"
        )
    layer = int(found[1] or 0)
    named = [int(found[2])] if found[2] else levels
    if found[1] and not 1 <= layer <= n_layers:
        raise InputError(f"there is no layer {layer}; it must be from 1 to {n_layers}")
    if not set(named) <= set(levels):
        raise InputError(f"there is no level {named[0]}; the levels are {', '.join(map(str, levels))}")
    return layer, named


def mute_words(layers: Iterable[int], levels: Iterable[int]) -> str:
    """The words that mute some levels in some layers; no layers are all layers, no levels all levels."""
    chosen, scales = [*layers], [*levels]
    if not chosen:
        return ",".join(str(level) for level in scales)
    return ",".join(f"{layer}:{level}" for layer in chosen for level in [*map(str, scales)] or [""])


def muted_in_words(words: str) -> str:
    """What is muted, for people: windows in tokens, such as "256, 512" or "512 in layer 3"."""
    parts = [word.rpartition(":") for word in words.split(",")]
    names = [
        f"{2 ** int(level):,}{f' in layer {layer}' * bool(layer)}" if level else f"layer {layer}"
        for layer, _, level in parts
    ]
    return ", ".join(names)
