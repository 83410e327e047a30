"""Resampling block by block, with the same result as resampling the whole waveform at once."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from waveletgpt.tokenizers.audio.pure_torchaudio import torchaudio

# torchaudio's filter bank grows with both terms of the ratio of the rates, to gigabytes for coprime rates. With this
# bound the usual rates are exact; for others the pitch is wrong by less than one part in a million.
LARGEST_DENOMINATOR = 1_000
ZERO_CROSSINGS = 32  # of the low-pass filter on each side; torchaudio's default of 6 lets aliases pass
BLOCK = 1 << 18  # samples per call of the filter


def resampled(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resample a waveform that comes in blocks. Only a few blocks are in memory at a time.

    Args:
        blocks: (S,) float32 each, of any lengths.
        from_rate: their sample rate, in Hz.
        to_rate: the new sample rate, in Hz.

    Yields:
        Blocks of other lengths. Joined, they equal `torchaudio.functional.resample` of the whole waveform of N samples:
        ceil(N * to_rate / from_rate) samples.
    """
    ratio = Fraction(int(to_rate), int(from_rate)).limit_denominator(LARGEST_DENOMINATOR)
    old, new = ratio.denominator, ratio.numerator  # a frame of `old` samples becomes `new` samples
    if old == new:
        yield from blocks
        return
    # With dtype given, the filter is computed in that type, as in the functional form.
    resample = torchaudio.transforms.Resample(old, new, lowpass_filter_width=ZERO_CROSSINGS, dtype=torch.float32)
    context = math.ceil(resample.width / old)  # frames that the filter reads on each side
    step = max(1, BLOCK // max(old, new))  # frames per call
    waiting = torch.zeros(context * old)  # silence before the start
    seen = made = 0
    for block in blocks:
        seen += len(block)
        waiting = torch.cat([waiting, block])
        # Keep a whole step for the end: the convolution rounds differently in short calls.
        while len(waiting) >= (2 * step + 2 * context) * old:
            span = waiting[: (step + 2 * context) * old]
            yield resample(span)[context * new :][: step * new]
            waiting = waiting[step * old :]
            made += step * new
    left = -(-seen * new // old) - made
    frames = -(-left // new)
    span = F.pad(waiting, (0, (frames + 2 * context) * old - len(waiting)))
    yield resample(span)[context * new :][:left]
