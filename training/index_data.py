"""Index training data, so that the app can tell how much of them a result repeats: one file of 8 bits a word, note or
wave, and what held-out passages share.

`python training/index_data.py --data data/novels --out checkpoints/seen/text.safetensors`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import atomic_path
from waveletgpt.common.overlap import LENGTHS, PASSAGES, Index, build_index, to_tensors
from waveletgpt.common.progress import progress_bar
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.tokenizers.units import NAMES, cut
from waveletgpt.training.data import Dataset

LARGEST = 1 << 22
"""Ids that are cut at once; a unit at such a border is cut in two."""


@dataclass(frozen=True)
class Config:
    """Index training data."""

    data: Path
    """Directory of prepared data, whose training split is indexed."""
    out: Path
    """File to write. The app looks in the folder `seen` beside its checkpoints."""
    also: tuple[str, ...] = ()
    """Digests of other preparations of the same data, on which checkpoints were trained that this index is for, too."""


def main() -> None:
    """Read the command line, write the index."""
    config = parse(Config, description=__doc__)
    index = index_data(Dataset.open(config.data), config.also)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    tensors, metadata = to_tensors(index)
    with atomic_path(config.out) as partial:
        save_file(tensors, partial, metadata)
    size = config.out.stat().st_size / 1e6
    print(f"{config.out}: {len(index.units):,} units, {size:.1f} MB")
    for length, (low, middle, high) in zip(LENGTHS, index.usual, strict=True):
        print(f"held-out passages of {length} share {middle:g} (10th to 90th percentile: {low:g} to {high:g})")


def index_data(dataset: Dataset, also: Sequence[str] = ()) -> Index:
    """The index of a training split. `also` are further digests. Raises InputError if its tokens have no units."""
    info = dataset.info
    tokenizer = tokenizer_from_dict(info.tokenizer)
    if tokenizer.kind not in NAMES:
        raise InputError(f"data of {tokenizer.kind} have no units to index; give {', '.join(NAMES)}")
    names = info.files.get("train") or {dataset.directory.name: info.splits["train"]["tokens"]}
    pieces, begin, tokens = [], 0, dataset.tokens("train")
    with progress_bar("tokens", len(tokens)) as advance:
        for name, count in names.items():
            parts = []
            for start in range(begin, begin + count, LARGEST):
                ids = tokens[start : min(start + LARGEST, begin + count)]
                parts.append(cut(tokenizer, torch.from_numpy(ids.astype(np.int64))).hashes)
                advance(len(ids))
            pieces.append((Path(name).name, np.concatenate(parts)))
            begin += count
    held_out = cut(tokenizer, torch.from_numpy(dataset.tokens("val")[:LARGEST].astype(np.int64))).hashes
    with progress_bar("held-out passages", len(LENGTHS) * PASSAGES) as advance:
        digests = ",".join([info.splits["train"]["sha256"], *also])
        return build_index(pieces, held_out, info.modality, digests, advance)


if __name__ == "__main__":
    run_command(main)
