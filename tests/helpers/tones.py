"""Two tones, as the sounds of card A and card B."""

import math
from pathlib import Path

import soundfile
import torch

from waveletgpt.app.web.transport import Sound, read_sound

RATE = 8000  # Hz
LOUD, SOFT = 0.8, 0.1  # amplitudes of A and B
SECONDS = 90.0  # long enough for a busy machine


def tone(amplitude: float, hertz: float, seconds: float) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def sounds(seconds: float, folder: Path | None = None) -> list[Sound]:
    """A and B; finished if there is a folder to write them to."""
    made = [Sound("A: loud", tone(LOUD, 440, seconds), RATE), Sound("B: soft", tone(SOFT, 660, seconds), RATE)]
    if folder is None:
        return made
    for sound in made:
        soundfile.write(folder / f"{sound.name[0]}.wav", sound.samples.numpy(), RATE)
    return [read_sound(sound.name, folder / f"{sound.name[0]}.wav") for sound in made]
