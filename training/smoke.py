"""Try everything once: prepare built-in data, train the debug preset, evaluate and generate, for all kinds of data."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from waveletgpt.common.errors import exit_with
from waveletgpt.training.preparing.source import BUILTIN

SCRIPTS = Path(__file__).parent
OUTPUTS = {"text": ("200", "text.txt"), "audio": ("0.05", "audio.wav"), "music": ("100", "music.mid")}
"""For each kind of data: the length to generate, and the file to write."""


def commands(modality: str, folder: Path) -> list[list[str]]:
    """The commands for one kind of data, in their order."""
    data, length_and_name = folder / f"{modality}-data", OUTPUTS[modality]
    python, found = [sys.executable], []
    found.append([*python, f"{SCRIPTS}/prepare_{modality}.py", "--source", BUILTIN, "--out", f"{data}"])
    for mixer in ("none", "haar"):
        run = folder / f"{modality}-{mixer}"
        train = [*python, f"{SCRIPTS}/train_{modality}.py", "--preset", "debug", "--data", f"{data}"]
        found.append([*train, "--out", f"{run}", "--model.mixer", mixer])
        best = f"{run / 'best'}"
        found.append([*python, f"{SCRIPTS}/evaluate.py", "--checkpoint", best, "--data", f"{data}", "--split", "test"])
        length, name = length_and_name
        generate = [*python, "-m", "waveletgpt", "generate", modality, "--checkpoint", best]
        found.append([*generate, "--length", length, "--out", f"{run / name}"])
    return found


def main() -> None:
    """Run all commands in a temporary folder until one fails, and remove the folder."""
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="waveletgpt-smoke-"))
    try:
        for modality in OUTPUTS:
            for command in commands(modality, folder):
                console.print("[bold]$", " ".join(["python", *command[1:]]))
                if subprocess.run(command, check=False).returncode:
                    exit_with("the command above failed", 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(f"[bold green]smoke: all three kinds of data work, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
