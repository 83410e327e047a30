"""The windows of data that a training step reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.training.batches import Batches, ReadAhead
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import SPLITS, Dataset, DatasetInfo, training_offsets, windows_at, write_dataset
from waveletgpt.training.modalities.augmentation import augmentation
from waveletgpt.training.ranks.graph import Parts
from waveletgpt.training.ranks.processes import Processes

Debug = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A music dataset of random notes and pauses."""
    directory, tokenizer = tmp_path_factory.mktemp("music") / "noise", MidiTokenizer()
    info = DatasetInfo("music", tokenizer.to_dict(), tokenizer.vocab_size, "nats per event", "noise", "CC0")
    torch.manual_seed(0)
    write_dataset(directory, info, {split: [torch.randint(1, info.vocab_size, (2000,))] for split in SPLITS})
    return Dataset.open(directory)


def whole_batch(dataset: Dataset, config: TrainConfig, step: int, world: int = 1) -> Tensor:
    """The windows (B, T + 1) of a step, joined from the parts of all processes in the order of the global batch."""
    found: dict[int, Tensor] = {}
    for rank in range(world):
        batches = Batches(dataset, config, Processes(rank, world))
        for part, (inputs, targets) in enumerate(batches.parts(step)):
            assert torch.equal(inputs[:, 1:], targets[:, :-1])
            windows = torch.cat([inputs, targets[:, -1:]], dim=1)
            found |= dict(zip(batches.rows[part :: config.accumulate], windows, strict=True))
    return torch.stack([found[place] for place in range(config.batch_size)])


@pytest.mark.parametrize("augment", [False, True])
def test_a_batch_is_the_same_however_it_is_shared(music: Dataset, debug: Debug, tmp_path: Path, augment: bool) -> None:
    config = debug(tmp_path, augment=augment)
    for step in (0, 7):
        alone = whole_batch(music, config, step)
        assert torch.equal(whole_batch(music, config, step, world=2), alone)
        assert torch.equal(whole_batch(music, replace(config, accumulate=4), step, world=2), alone)
    assert not torch.equal(whole_batch(music, config, 0), alone)


def test_augmented_windows_are_those_of_the_augmentation(music: Dataset, debug: Debug, tmp_path: Path) -> None:
    plain = whole_batch(music, debug(tmp_path), 3)
    tokens = music.tokens("train")
    offsets = training_offsets(len(tokens), 64, 8, seed=0, step=3)
    assert torch.equal(plain[:, :-1], windows_at(tokens, offsets, 64)[0])
    changed = whole_batch(music, debug(tmp_path, augment=True), 3)
    inputs, targets = augmentation("music", music.info.tokenizer, 0)(plain.numpy(), 3, range(8))
    assert np.array_equal(changed[:, :-1].numpy(), inputs) and np.array_equal(changed[:, 1:].numpy(), targets)
    assert not torch.equal(changed, plain)


def test_batches_read_ahead_are_the_same(music: Dataset, debug: Debug, tmp_path: Path) -> None:
    batches = Batches(music, debug(tmp_path, augment=True, accumulate=2), Processes())
    read = list[int]()

    def reading(step: int) -> Parts:
        read.append(step)
        return batches.parts(step)

    ahead = ReadAhead(reading, steps=20)
    for step in range(5, 20):
        for found, expected in zip(ahead.parts(step), batches.parts(step), strict=True):
            assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert not ahead.ahead or step < max(ahead.ahead) < step + 2 * ReadAhead.THREADS
    assert sorted(read) == [*range(5, 20)]  # each step once, and none after the last
