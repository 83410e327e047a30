"""Units of loss. Inside they are nats per token; people are told bits per character or sample, and nats per event."""

import math


def in_unit(nats: float, unit: str) -> float:
    """A loss in nats per token, in the unit that `unit` names: "bits per ..." or "nats per ..."."""
    return nats / math.log(2) if unit.startswith("bits") else nats
