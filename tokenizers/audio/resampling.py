"""Sound at another rate, block by block: the same samples as if the whole had been resampled at once."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from waveletgpt.tokenizers.audio.pure_torchaudio import torchaudio

# torchaudio's filter bank grows with both terms of the ratio of the rates: with coprime rates to gigabytes.
# The usual rates are exact below this bound, for others the pitch is off by less than one in a million.
LARGEST_DENOMINATOR = 1_000
ZERO_CROSSINGS = 32  # of the low-pass filter on either side; torchaudio's default of 6 lets aliases through
BLOCK = 1 << 18  # samples that go through the filter in one call


def resampled(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """A sound at `from_rate` Hz, in blocks (S,) float32 of any lengths, at `to_rate` Hz, in blocks of other lengths.

    Joined, they are what `torchaudio.functional.resample` makes of the whole, ceil(S * to_rate / from_rate) samples.
    A few blocks are in memory at a time.
    """
    ratio = Fraction(int(to_rate), int(from_rate)).limit_denominator(LARGEST_DENOMINATOR)
    old, new = ratio.denominator, ratio.numerator  # every `old` samples, a frame, become `new`
    if old == new:
        yield from blocks
        return
    # With its type given the filter is computed in it, as by the functional form.
    resample = torchaudio.transforms.Resample(old, new, lowpass_filter_width=ZERO_CROSSINGS, dtype=torch.float32)
    context = math.ceil(resample.width / old)  # frames that the filter sees on either side
    step = max(1, BLOCK // max(old, new))  # frames a call
    waiting = torch.zeros(context * old)  # silence before the start
    seen = made = 0
    for block in blocks:
        seen += len(block)
        waiting = torch.cat([waiting, block])
        # A whole step stays for the end: in short calls the convolution would round in another way.
        while len(waiting) >= (2 * step + 2 * context) * old:
            span = waiting[: (step + 2 * context) * old]
            yield resample(span)[context * new :][: step * new]
            waiting = waiting[step * old :]
            made += step * new
    left = -(-seen * new // old) - made
    frames = -(-left // new)
    span = F.pad(waiting, (0, (frames + 2 * context) * old - len(waiting)))
    yield resample(span)[context * new :][:left]
