"""Piano music: continues a MIDI file, event by event."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.drawing.figures import Notes, piano_roll_figure
from waveletgpt.app.modalities.base import AppModality, Extent, PromptField
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.audio.audio_file import write_wav
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.piano.performance import STEPS_PER_SECOND
from waveletgpt.tokenizers.piano.soundfont import render

SAMPLE_RATE = 22_050  # Hz, of WAV files; a piano has almost no sound above 11 kHz


class Music(AppModality[MidiTokenizer]):
    """Piano music, whose tokens are MIDI events."""

    prompt = PromptField(
        "Prompt: a MIDI file",
        "Without one, both models begin a piece.",
        suffixes=(".mid", ".midi"),
    )
    length = Extent(500, 50, 2000, 50)
    keep = Extent(200, 50, 1000, 50)
    files = (".mid", ".wav")
    refresh = 1.0
    fact_types: ClassVar[dict[str, str]] = {
        "notes": "integer",
        "seconds": "number",
        "prompt_seconds": "number",
    }

    def read_prompt(self, source: str | Path, tokenizer: MidiTokenizer) -> Tensor:
        """Encode a MIDI file. All tracks except drums become one piano."""
        return tokenizer.encode(source)

    def view(self, completion: Completion, tokenizer: MidiTokenizer, shared: int = 0) -> str:  # noqa: ARG002
        """A piano roll."""
        notes, prompt = _notes(completion.ids, tokenizer), _notes(completion.ids[: completion.prompt_length], tokenizer)
        return piano_roll_figure(notes, f"Piano roll of {len(notes.onset)} notes", boundary=prompt.end)

    def facts(self, completion: Completion, tokenizer: MidiTokenizer) -> dict[str, Any]:
        """Number of notes, duration of the result and of the prompt in it."""
        notes, prompt = _notes(completion.ids, tokenizer), _notes(completion.ids[: completion.prompt_length], tokenizer)
        return {"notes": len(notes.onset), "seconds": notes.end, "prompt_seconds": prompt.end}

    def write(self, completion: Completion, tokenizer: MidiTokenizer, path: Path) -> None:
        """Write a MIDI file, or a WAV file of the piano's sound."""
        score = tokenizer.decode(completion.ids)
        if path.suffix.lower() == ".wav":
            write_wav(path, render(score, SAMPLE_RATE), SAMPLE_RATE)
        else:
            write_midi(path, score)


def _notes(ids: Tensor, tokenizer: MidiTokenizer) -> Notes:
    notes = tokenizer.decode(ids).tracks[0].notes.numpy()
    onset, length = notes["time"] / STEPS_PER_SECOND, notes["duration"] / STEPS_PER_SECOND
    return Notes(onset, length, notes["pitch"], notes["velocity"])


APP_MODALITY = Music
