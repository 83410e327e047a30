"""DNA: one id for each of the four bases."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.registry import check_ids, construct

BASES = "ACGT"


@dataclass(frozen=True)
class BaseTokenizer:
    """Turns strings of A, C, G and T into ids 0 to 3 and back."""

    kind: ClassVar[str] = "bases"

    @property
    def vocab_size(self) -> int:
        return len(BASES)

    @property
    def start(self) -> Tensor:
        return torch.tensor([0])

    def encode(self, sequence: str) -> Tensor:
        wrong = set(sequence) - set(BASES)
        if wrong:
            raise InputError(f"{min(wrong)!r} is not one of the bases {BASES}")
        return torch.tensor([BASES.index(base) for base in sequence], dtype=torch.int64)

    def decode(self, ids: Tensor) -> str:
        check_ids(ids, self.vocab_size)
        return "".join(BASES[i] for i in ids.tolist())

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Self:
        return construct(cls, description)
