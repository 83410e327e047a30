"""The options of `waveletgpt` and its commands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from waveletgpt.app.access import Limits
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES

KINDS = "|".join(MODALITIES)
UNITS = ", ".join(f"{modality.unit} of {name}" for name, modality in MODALITIES.items())
AS_PAGE = "(default: as on the page)"
SHIPPED = "(default: those that ship with waveletgpt)"
OWN_VOTES = "(default: waveletgpt/votes.csv in your data folder)"


@dataclass(frozen=True)
class App:
    """Open the page that generates text, audio and music with two checkpoints side by side."""

    port: int = 7860
    """Port to serve it on."""
    host: str = "127.0.0.1"
    """Address to serve it on; 0.0.0.0 opens it to the network."""
    checkpoints: Annotated[Path | None, tyro.conf.arg(help_behavior_hint=SHIPPED)] = None
    """Directory of checkpoints, of training runs or of comparisons."""
    results: Annotated[Path | None, tyro.conf.arg(help_behavior_hint=SHIPPED)] = None
    """Directory of reports of compare.py, to show."""
    runs: Annotated[Path | None, tyro.conf.arg(help_behavior_hint="(default: no such tab)")] = None
    """Directory of training runs, to watch while they train, on a tab of their own."""
    votes: Annotated[Path | None, tyro.conf.arg(help_behavior_hint=OWN_VOTES)] = None
    """CSV file that keeps the votes of the blind test."""
    device: str = "cpu"
    """Device to compute on: cpu, cuda, or auto, which is CUDA if there is a GPU. Recipes promise equal bytes on a CPU
    only."""
    mcp: bool = False
    """Also offer the endpoints as MCP tools; needs pip install "gradio[mcp]"."""
    auth: str | None = None
    """USER:PASSWORD that opens the page and the endpoints, or a file with such lines. The environment variable
    WAVELETGPT_AUTH does the same, and does not show the password to others on this machine."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)


@dataclass(frozen=True)
class Generate:
    """Generate with one checkpoint: text to the screen or a file, audio to a .wav, music to a .mid or a .wav."""

    kind: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar=KINDS)] = None
    """What to generate; with --recipe it is known."""
    checkpoint: Path | None = None
    """Name or directory of the checkpoint; with --recipe, a directory to search for it (default: those that ship)."""
    recipe: Path | None = None
    """A WAV, MIDI or JSON file that waveletgpt wrote, whose results to make again."""
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
    """Below 1 safer, above 1 wilder; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Choose from this many of the likeliest tokens."""
    top_p: float | None = None
    """Choose from the fewest likeliest tokens whose probabilities sum to this."""
    min_p: float | None = None
    """Choose from tokens at least this many times as probable as the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are there already become less likely; 1 changes nothing."""
    seed: int = 0
    """Seed of the random numbers. Equal seeds give equal results."""
    mute: str = ""
    """Time scales of the wavelet to leave out: 9 for windows of 2^9 tokens, 3: for layer 3, 3:9 for both; joined by
    commas."""
    device: str = "cpu"
    """Device to compute on: cpu, cuda, or auto, which is CUDA if there is a GPU. Seeds and recipes promise equal bytes
    on a CPU only."""
    samples: int = 1
    """How many to generate; --out story.txt becomes story-1.txt, story-2.txt, ..."""
    out: Path | None = None
    """File to write; an existing file is replaced. Without it, text is printed as it is written, and audio and music
    go to a file named after the checkpoint and the seed."""


@dataclass(frozen=True)
class Inspect:
    """Print what a checkpoint is, its kernels, its losses and its speed here, on one screen."""

    checkpoint: tyro.conf.Positional[Path]
    """Name or directory of the checkpoint, or its id on the Hugging Face Hub."""
    device: str = "cpu"
    """Device whose speed to measure: cpu, cuda, or auto, which is CUDA if there is a GPU."""


@dataclass(frozen=True)
class Novelty:
    """Print the longest run that a file shares with what a checkpoint was trained on, and what is usual."""

    file: tyro.conf.Positional[Path]
    """A text, WAV, FLAC, OGG, MP3 or MIDI file."""
    checkpoint: Path
    """Name or directory of the checkpoint, which knows its training data."""
    index: Path | None = None
    """Index of the training data, by training/index_data.py; by default the one beside the checkpoint."""


@dataclass(frozen=True)
class Runs:
    """Print the training runs in a directory, finished or not, and how many times sooner each learns than its
    baseline."""

    directory: tyro.conf.Positional[Path]
    """Directory that holds runs."""


@dataclass(frozen=True)
class Train:
    """Train a model on your own files: prepare them, train for as long as you say, evaluate, and write a sample.

    Before it trains, it says how far the time will go and what to expect. The same command goes on with what was
    interrupted.
    """

    kind: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar=KINDS)]
    """What the files are."""
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files, or one folder or archive of them: UTF-8 text; WAV, FLAC, OGG, MP3 or AIFF; MIDI."""
    out: Path
    """Directory of the run, made if missing."""
    minutes: float = 30
    """How long to train; preparing and evaluating come on top."""
    mixer: str = "learnable"
    """Layer between the blocks: learnable or haar, the paper's; none for the baseline; docs/training.md has others."""
    start_from: Path | None = None
    """Begin with what this checkpoint knows, such as text-learnable, instead of nothing. It decides model and mixer."""
    preset: Literal["auto", "debug", "cpu", "paper"] = "auto"
    """Size of model and batch: auto is paper on a GPU, and cpu with windows of 256 tokens elsewhere."""
    sample_rate: int = 8000
    """Of audio, in Hz. 16000 sounds better and takes twice as many tokens for a second."""
    name: str = ""
    """Name of the data in the model card (default: of the files)."""
    licence: str = "not stated"
    """Licence of the data, for the model card."""
    seed: int = 0
    """Seed of the initial weights and the order of the data."""

    def __post_init__(self) -> None:
        if self.kind not in MODALITIES:
            raise InputError(f"train takes one of {', '.join(MODALITIES)}, not {self.kind!r}")
        if not self.files:
            raise InputError(f"give files of {self.kind} to train on")
        if not 0 < self.minutes < 1e5:
            raise InputError(f"--minutes is {self.minutes:g}; it must be above 0")


@dataclass(frozen=True)
class Votes:
    """Print what the votes of the blind test say about each pair of checkpoints."""

    file: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(help_behavior_hint=OWN_VOTES)] = None
    """CSV file of votes."""
    checkpoints: Annotated[Path | None, tyro.conf.arg(help_behavior_hint=SHIPPED)] = None
    """Directory of the checkpoints, which know their losses."""
