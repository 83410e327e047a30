"""The command line of `train_*.py` and `compare.py`: a preset, and a flag for each setting."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import tyro

from waveletgpt.common import command_line
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.training.config import PRESETS, TrainConfig
from waveletgpt.training.runs.stopping import Stopped
from waveletgpt.training.trainer import train

C = TypeVar("C", bound=TrainConfig)


def train_command(modality: str | None, description: str) -> None:
    """Run `train_<modality>.py`: read the command line, train, and print where the result is."""

    def main() -> None:
        config = parse(TrainConfig, sys.argv[1:], description)
        try:
            result = train(config, modality=modality)
        except Stopped:
            if os.environ.get("RANK", "0") == "0":
                print(f"To resume:\n  {command_to_resume(sys.orig_argv, os.environ)}")
            raise
        if result.is_first:
            print(
                f"Trained {result.steps:,} steps in {result.seconds:,.0f} s. Lowest validation loss "
                f"{result.best_val_loss:.4f} nats per token. Checkpoint: {config.out / 'best'}"
            )

    run_command(main)


def command_to_resume(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """The shell command that resumes the run of `command`.

    Args:
        command: the words of the command, the interpreter first.
        environ: the process's environment, which shows whether torchrun started it. On several machines the command
            must be given on each.
    """
    words = list(command)
    if "LOCAL_WORLD_SIZE" in environ:
        script = next((i for i, word in enumerate(words) if word.endswith(".py")), len(words))
        words = ["torchrun", "--nproc_per_node", environ["LOCAL_WORLD_SIZE"], *words[script:]]
    resumed = shlex.join(words if "--resume" in words else [*words, "--resume"])
    several = int(environ.get("GROUP_WORLD_SIZE", "1")) > 1
    return f"{resumed}  (with torchrun's other options, on each machine)" if several else resumed


def parse(kind: type[C], arguments: list[str], description: str) -> C:
    """Read settings from the command line: those of --preset (default: cpu), changed by the other flags.

    Raises:
        InputError: unknown preset, flag or value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", default="cpu")
    known, rest = parser.parse_known_args(arguments)
    if known.preset not in PRESETS:
        raise InputError(f"--preset takes one of {', '.join(PRESETS)}, not {known.preset or 'nothing'}")
    preset = PRESETS[known.preset](data=Path(), out=Path())
    default = kind(**{f.name: getattr(preset, f.name) for f in fields(preset)})
    return command_line.parse(
        kind,
        default=replace(default, data=tyro.MISSING, out=tyro.MISSING),
        args=rest,
        description=f"{description} --preset {' | '.join(PRESETS)} sets everything at once; "
        f"the defaults below are those of {known.preset}.",
    )
