"""Lengths that people choose."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Extent:
    """Bounds, step and default of a length that people choose on the page, in the modality's unit."""

    default: float
    lowest: float
    highest: float
    step: float

    def up_to(self, highest: float) -> Self:
        """Set the highest value; lowest value and default become smaller where they would be above it."""
        lowest = min(self.lowest, highest)
        return replace(self, lowest=lowest, highest=highest, default=min(self.default, highest))
