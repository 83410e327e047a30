"""How much of the past a token is predicted from."""

import math


def context_start(position: int, block_size: int) -> int:
    """Where the context begins from which the token at `position` is predicted.

    Everything before it, as long as that fits into `block_size`. When it does not, the context is cut by half a
    block and read anew: it holds from half a block to a whole one, as in training, whatever the length.
    `benchmarks/context.py` compares this with a rolling cache.
    """
    half = max(1, block_size // 2)
    return max(0, math.ceil((position - block_size) / half)) * half
