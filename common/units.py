"""Units of loss. Code computes in nats per token; people see bits per character or sample, and nats per event."""

import math


def in_unit(nats: float, unit: str) -> float:
    """Convert a loss from nats per token to `unit`, which is "bits per ..." or "nats per ..."."""
    return nats / math.log(2) if unit.startswith("bits") else nats
