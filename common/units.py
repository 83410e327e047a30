"""Units of loss: code computes in nats per token; people see bits or nats per token. And large numbers in words."""

import math


def in_unit(nats: float, unit: str) -> float:
    """Convert a loss from nats per token to `unit`, which is "bits per ..." or "nats per ..."."""
    return nats / math.log(2) if unit.startswith("bits") else nats


def in_words(count: float) -> str:
    """A number of tokens, such as "2 million" or "12,800"."""
    return f"{count:,}" if count < 1e5 else f"{count / 1e6:.1f}".removesuffix(".0") + " million"
