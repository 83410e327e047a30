"""The command line: `waveletgpt app` and `waveletgpt generate`. Heavy packages are imported once a command runs."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from waveletgpt.app.modalities.registry import MODALITIES
from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import run_command

KINDS = "|".join(MODALITIES)
UNITS = ", ".join(f"{entry.unit} of {name}" for name, entry in MODALITIES.items())
AS_PAGE = "(default: as the page begins with)"


@dataclass(frozen=True)
class App:
    """Open the page in which text, audio and music are generated with two checkpoints side by side."""

    port: int = 7860
    """Port to serve it on."""
    host: str = "127.0.0.1"
    """Address to serve it on; 0.0.0.0 opens it to the network."""
    checkpoints: Path | None = None
    """Directory of checkpoints (or of training runs); the ones that ship with waveletgpt unless given."""
    results: Path | None = None
    """Directory of what compare.py wrote, to show; the measurements that ship with waveletgpt unless given."""


@dataclass(frozen=True)
class Generate:
    """Generate with one checkpoint: text to the screen or a file, audio to a .wav, music to a .mid or a .wav."""

    kind: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar=KINDS)]
    """What to generate."""
    checkpoint: Path
    """Directory of the checkpoint."""
    prompt: str | None = None
    """Text to continue."""
    prompt_file: Path | None = None
    """File to continue: UTF-8 text; WAV, FLAC, OGG or MP3; MIDI. Without a prompt, a new piece begins."""
    keep: Annotated[float | None, tyro.conf.arg(help_behavior_hint=AS_PAGE)] = None
    """How much of the prompt's end the result begins with, in the unit of --length."""
    length: Annotated[
        float | None, tyro.conf.arg(help=f"How much to generate: {UNITS}.", help_behavior_hint=AS_PAGE)
    ] = None
    temperature: Annotated[float | None, tyro.conf.arg(help_behavior_hint=AS_PAGE)] = None
    """Below 1 safer, above 1 wilder; 0 takes the likeliest token every time."""
    top_k: int | None = None
    """Choose from this many of the likeliest tokens."""
    top_p: float | None = None
    """Choose from the fewest likeliest tokens whose probabilities sum to this."""
    min_p: float | None = None
    """Choose from tokens at least this many times as probable as the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are there already become less likely; 1 changes nothing."""
    seed: int = 0
    """The same seed gives the same result."""
    samples: int = 1
    """How many to generate; --out story.txt becomes story-1.txt, story-2.txt, ..."""
    out: Path | None = None
    """File to write; replaced if it is there. Without it text is printed as it is written, and other kinds are
    named after the checkpoint and the seed."""


COMMANDS: Any = App | Generate


def main() -> None:
    """Run the command line."""
    run_command(_main)


def _main() -> None:
    command = parse(
        COMMANDS,
        prog="waveletgpt",
        description="Small GPTs with a causal wavelet layer between their blocks.",
        config=(tyro.conf.DisallowNone,),  # or a prompt could not be the word None
    )
    if isinstance(command, Generate):
        import_module("waveletgpt.app.generate").run(command)
    else:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
        with import_module("rich.console").Console(stderr=True).status("opening the page ..."):
            shipped = import_module("waveletgpt.app.checkpoints").SHIPPED
            page = import_module("waveletgpt.app.web.page")
        results = command.results or page.SHIPPED_REPORTS
        page.open_page(command.checkpoints or shipped, command.host, command.port, results=results)
