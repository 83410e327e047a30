"""The transport of a tab: one player for both cards, which switches between them at the same position.

Sound can be played while it grows. A longer sound takes over from the shorter one without a gap.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import soundfile
import torch
from torch import Tensor

STATIC = Path(__file__).with_name("static")
CARDS = ("a", "b")
BLOCK = 0.05  # seconds
SILENCE = 1e-3  # RMS of a block, -60 dBFS

TRANSPORT_HTML = """<div class="transport" role="group" aria-label="Player" data-name="NAME" hidden>
<button type="button" aria-label="Play"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5v14l11-7z"/></svg>
</button>
<div class="choice" role="radiogroup" aria-label="Card to hear">
<label><input type="radio" name="NAME-heard" checked aria-label="LEFT"><span aria-hidden="true">LEFT</span></label>
<label><input type="radio" name="NAME-heard" aria-label="RIGHT"><span aria-hidden="true">RIGHT</span></label>
</div>
<input type="range" min="0" max="1" step="any" value="0" aria-label="Position">
<span class="time"></span>
<label class="match"><input type="checkbox" checked><span>Loudness matched</span></label>
</div>"""


@dataclass(frozen=True)
class Sound:
    """What one card plays."""

    name: str
    """For screen readers, such as "A: audio-baseline"."""
    samples: Tensor
    """(S,) in -1..1."""
    sample_rate: int
    """Hz."""
    path: Path | None = None
    """File of the same sound, once it is finished."""


def read_sound(name: str, path: str | Path) -> Sound:
    """A finished sound from its file."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Sound(name, torch.from_numpy(samples.mean(axis=1)), rate, Path(path))


def transport(name: str, cards: Sequence[str] = ("A", "B")) -> gr.HTML:
    """The component of the tab whose elem_id is `<name>-tab`. It is hidden while no card has a sound.

    Args:
        name: of the tab.
        cards: what people call the two cards.
    """
    left, right = cards
    return gr.HTML(
        None,
        html_template=TRANSPORT_HTML.replace("NAME", name).replace("LEFT", left).replace("RIGHT", right),
        js_on_load=(STATIC / "transport.js").read_text("utf-8"),
        elem_id=f"{name}-transport",
        elem_classes="dock",
    )


def card_view(card: str, view: str, *, tinted: bool = False) -> str:
    """The view of card "a" or "b", for its gr.HTML. The transport draws a playhead over it, and a click on it seeks.

    `tinted` says that surprise marks it, so that a click looks closer.
    """
    return f'<figure class="view{" tinted" * tinted}" data-card="{card}">{view}</figure>'


def transport_value(sounds: Sequence[Sound | None], version: str | int) -> dict[str, Any]:
    """The transport's value.

    The value of a longer sound starts with that of a shorter one (3 samples are 6 bytes, 8 characters of base64), so
    gradio sends only what was added.

    Args:
        sounds: of A and B; None, or an empty sound, if a card has nothing to play.
        version: another one for each press of Generate. A new one ends what is being played; with the old one, a
            longer sound takes over.

    Returns:
        `{"version", "cards": [A, B]}`. A card is None, `{"name", "gain", "pcm", "rate"}` (16-bit PCM and Hz) while
        its sound grows, or `{"name", "gain", "file", "seconds"}`. Gradio serves the file.
    """
    heard = [sound if sound and len(sound.samples) >= 3 else None for sound in sounds]
    gains = iter(matching_gains([loudness(sound.samples, sound.sample_rate) for sound in heard if sound]))
    return {"version": version, "cards": [sound and _card(sound, next(gains)) for sound in heard]}


def loudness(samples: Tensor, sample_rate: int) -> float:
    """RMS of the blocks of 50 ms that are not silent; 0 if all are.

    Args:
        samples: (S,) in -1..1.
        sample_rate: in Hz.
    """
    size = min(max(1, round(BLOCK * sample_rate)), max(1, len(samples)))
    power = samples[: len(samples) // size * size].view(-1, size).square().mean(dim=1)
    sounding = power[power > SILENCE**2]
    return float(sounding.mean().sqrt()) if len(sounding) else 0.0


def matching_gains(levels: Sequence[float]) -> list[float]:
    """Factors, at most 1, that bring sounds to the loudness of the quietest. Silent ones stay as they are."""
    quietest = min((level for level in levels if level), default=0.0)
    return [quietest / level if level else 1.0 for level in levels]


def _card(sound: Sound, gain: float) -> dict[str, Any]:
    card: dict[str, Any] = {"name": sound.name, "gain": round(gain, 4)}
    if sound.path is not None:
        file = {"path": str(sound.path), "meta": {"_type": "gradio.FileData"}}
        return {**card, "file": file, "seconds": len(sound.samples) / sound.sample_rate}
    whole = sound.samples[: len(sound.samples) // 3 * 3]
    pcm = (whole.clamp(-1, 1) * 32767).round().numpy().astype("<i2")
    return {**card, "pcm": base64.b64encode(pcm.tobytes()).decode(), "rate": sound.sample_rate}
