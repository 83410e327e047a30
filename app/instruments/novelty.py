"""Whether something is new: the longest run that it shares with the training data, beside that of held-out passages."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from waveletgpt.app.checkpoints import SHIPPED, LoadedCheckpoint
from waveletgpt.common.errors import InputError
from waveletgpt.common.overlap import ANCHOR, Index, indexed_data, read_index
from waveletgpt.tokenizers.units import NAMES, cut

FOLDER = "seen"
"""Folder of the indices, beside checkpoints."""


@dataclass(frozen=True)
class Novelty:
    """How much of something the training data have too."""

    units: int
    """Words, notes or waves in all."""
    name: str
    """What they are called."""
    shared: int
    """Of the longest run; below `ANCHOR` it is 0, since that may be chance."""
    begin: int
    """First token of the run."""
    end: int
    """The token after its last."""
    file: str
    """File of the training data; "" without a run."""
    place: float
    """The part of the file before the run."""
    usual: list[float]
    """What held-out passages of that length share: 10th, 50th and 90th percentile."""

    @property
    def verdict(self) -> str:
        """The longest run beside what is usual."""
        low, middle, high = self.usual
        usual = f"{middle:g} ({low:g} to {high:g} in eight of ten)" if high >= ANCHOR else f"fewer than {ANCHOR}"
        mine = max(self.shared, ANCHOR - 1)  # as a held-out passage without a run is counted
        much = "more than is usual" if mine > high else "less than is usual" if mine < low else "usual"
        return f"Held-out passages of this length, which no model has seen, share {usual}, so this is {much}."

    @property
    def shared_in_words(self) -> str:
        """The longest run, and where it is."""
        if not self.shared:
            return f"of its {self.units:,} {self.name}, fewer than {ANCHOR} in a row are in the training data, too"
        return (
            f"of its {self.units:,} {self.name}, {self.shared:,} in a row are in the training data, too, "
            f"{100 * self.place:.0f} % into {self.file}"
        )


def find_index(loaded: LoadedCheckpoint, directory: Path = SHIPPED) -> Index:
    """The index of a checkpoint's training data.

    Args:
        loaded: the checkpoint.
        directory: of checkpoints; the one that ships is searched, too.

    Raises:
        InputError: there is none, or it is damaged.
    """
    wanted = loaded.info.trained_on.get("sha256")
    for folder in dict.fromkeys((directory / FOLDER, SHIPPED / FOLDER)):
        for path in sorted(folder.glob("*.safetensors")):
            if wanted in indexed_data(path):
                return _read(path, path.stat().st_mtime_ns)
    raise InputError(
        f"there is no index of the data that {loaded.name} was trained on; make one with python training/index_data.py "
        f"--data DATA --out {directory / FOLDER}/NAME.safetensors"
    )


@lru_cache(maxsize=3)
def _read(path: Path, _changed: int) -> Index:
    return read_index(path)


def novelty(index: Index, loaded: LoadedCheckpoint, ids: Tensor) -> Novelty:
    """How new ids (T,) are, as the checkpoint's tokenizer knows them."""
    if loaded.tokenizer.kind not in NAMES:
        raise InputError(f"{loaded.name} has no {', '.join(NAMES.values())} that could be compared")
    units, name = cut(loaded.tokenizer, ids), NAMES[loaded.tokenizer.kind]
    run, count = index.longest_run(units.hashes), len(units.hashes)
    usual = index.usual_run(count)
    if run is None:
        return Novelty(count, name, 0, 0, 0, "", 0.0, usual)
    begin, end = int(units.begins[run.begin]), int(units.ends[run.begin + run.length - 1])
    return Novelty(count, name, run.length, begin, end, *index.where(run.place), usual)
