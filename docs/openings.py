"""Make again what each tab of the page opens with: `python docs/openings.py`.

It takes the checkpoints that the page offers first, the settings of B's, and seeds that were chosen by ear.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waveletgpt.app.checkpoints import SHIPPED, Library
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.openings import write_opening
from waveletgpt.app.results import Results, grow, load_named, new_result
from waveletgpt.app.web.components import default_checkpoints
from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command
from waveletgpt.models.sampling import Sampling


@dataclass(frozen=True)
class Opening:
    """What a tab opens with."""

    modality: str
    example: str
    """Name of a ready-made prompt; empty for none."""
    seed: int
    length: float
    """As on the page: words, seconds or notes."""
    temperature: float | None = None
    """None for the default of B's checkpoint."""


OPENINGS = (
    Opening("text", "at-the-door", 6, 110, temperature=0.6),
    Opening("audio", "", 0, 3.0),
    Opening("music", "", 0, 120, temperature=0.9),
)


@dataclass(frozen=True)
class Config:
    """Make the openings."""

    checkpoints: Path = SHIPPED
    """Directory of the checkpoints."""


def main() -> None:
    """Read the command line, make the openings."""
    config = parse(Config, description=__doc__)
    for opening in OPENINGS:
        write_opening(made(opening, config.checkpoints))


def made(opening: Opening, directory: Path) -> Results:
    """The complete results of an opening."""
    modality = load_modality(opening.modality)
    entries = Library(directory, opening.modality).entries()
    names = default_checkpoints(entries)
    wanted: Results = []
    for name in names:
        if name is None:
            continue
        loaded = load_named(modality, entries, name)
        prompt = modality.kept_prompt(None, modality.keep.default, loaded.tokenizer, opening.example)
        chosen = modality.sampling(entries[names[-1] or name].info)
        if opening.temperature is not None:
            chosen |= {"temperature": opening.temperature}
        settings: dict[str, Any] = {**chosen, "seed": opening.seed}
        length = modality.tokens_for(opening.length, loaded.tokenizer)
        wanted.append(new_result(modality, loaded, prompt, length, Sampling(**settings)))
    *_, results = grow(wanted)
    return results


if __name__ == "__main__":
    run_command(main)
