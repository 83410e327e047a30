"""Piano music: continues a MIDI file, event by event."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.drawing.figures import Notes, RollAxes, piano_roll_figure, roll_axes
from waveletgpt.app.drawing.heat import in_levels
from waveletgpt.app.modalities.base import AppModality, Prompt, PromptField
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.prompts.example import Example, find_example
from waveletgpt.app.prompts.notation import play
from waveletgpt.app.prompts.pieces import PIECES
from waveletgpt.app.recipe import marked
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.audio.audio_file import write_wav
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.piano.child_process import read_midi_in_child
from waveletgpt.tokenizers.piano.performance import STEPS_PER_SECOND
from waveletgpt.tokenizers.piano.soundfont import render

SAMPLE_RATE = 22_050  # Hz, of WAV files; a piano has almost no sound above 11 kHz


class Music(AppModality[MidiTokenizer]):
    """Piano music, whose tokens are MIDI events."""

    prompt = PromptField(
        "Prompt: a MIDI file",
        "Without a prompt, both models begin a piece.",
        suffixes=(".mid", ".midi"),
    )
    length = Extent(500, 50, 2000, 50)
    length_unit = "notes"
    # Over MAESTRO's validation split, sum(len(ids := encode(file))) / sum(len(decode(ids).tracks[0].notes)) is
    # 2,671,292 / 639,425, with the methods of MidiTokenizer.
    units_each = 4.18
    length_on_page = Extent(120, 20, 470, 10)
    keep = Extent(500, 50, 1000, 50)
    files = (".mid", ".wav")
    refresh = 1.0
    first = 0.1
    place = "a note"
    fact_types: ClassVar[dict[str, tuple[str, str]]] = {
        "notes": ("integer", "Number of notes, those of the prompt included."),
        "seconds": ("number", "Duration of prompt and continuation."),
        "prompt_seconds": ("number", "Duration of the prompt at the beginning."),
    }

    def read_prompt(self, source: str | Path, tokenizer: MidiTokenizer) -> Prompt:
        """Encode a MIDI file, which a child process reads. All tracks except drums become one piano."""
        path = Path(source)
        prompt = Prompt(tokenizer.encode(read_midi_in_child(path)), title=path.stem)
        self.check_duration(path, self.seconds(prompt, tokenizer))
        return prompt

    def sample_ids(self, path: Path, tokenizer: MidiTokenizer) -> Tensor:
        """The events of a piece that training wrote, which needs no child process."""
        return tokenizer.encode(path)

    def examples(self) -> tuple[Example, ...]:
        """The first bars of six pieces."""
        return PIECES

    def example_file(self, name: str, folder: Path) -> Path:
        """Write the first bars of a piece as a MIDI file."""
        piece = find_example(PIECES, name)
        path = folder / f"{name}.mid"
        write_midi(path, play(piece))
        return path

    def example_ids(self, name: str, tokenizer: MidiTokenizer) -> Tensor:
        """The ids of the first bars of a piece."""
        return tokenizer.encode(play(find_example(PIECES, name)))

    def seconds(self, prompt: Prompt, tokenizer: MidiTokenizer) -> float:
        """How long a piece lasts."""
        return float(tokenizer.times(prompt.ids)[-1]) if len(prompt.ids) else 0.0

    def ids_until(self, seconds: float, prompt: Prompt, source: Any, tokenizer: MidiTokenizer) -> Tensor:  # noqa: ARG002
        """The events of a prompt up to a second."""
        return prompt.ids[: max(1, int((tokenizer.times(prompt.ids) <= seconds).sum()))]

    def view(
        self,
        completion: Completion,
        tokenizer: MidiTokenizer,
        shared: int = 0,  # noqa: ARG002
        axes: RollAxes | None = None,
        surprise: Tensor | None = None,
    ) -> str:
        """A piano roll. The edge of a note says how surprising it was that its key went down."""
        notes, prompt = _notes(completion.ids, tokenizer), _notes(completion.ids[: completion.prompt_length], tokenizer)
        description, marks = f"Piano roll of {len(notes.onset)} notes", None
        if surprise is not None:
            levels, first = in_levels(surprise), completion.prompt_length
            new = [int(index) - first for index in tokenizer.strikes(completion.ids)]
            marks = [
                f'class="key s{levels[i]}" data-token="{i}"' if 0 <= i < len(levels) else 'class="key"' for i in new
            ]
        return piano_roll_figure(notes, description, boundary=prompt.end, axes=axes, marks=marks)

    def label(self, token: int, tokenizer: MidiTokenizer) -> str:
        """The event."""
        return tokenizer.event(token)

    def token_at(self, seconds: float, ids: Tensor, tokenizer: MidiTokenizer) -> int:
        """The event at which the time is reached."""
        return min(int((tokenizer.times(ids) < seconds).sum()), len(ids) - 1)

    def axes(self, completions: Sequence[Completion], tokenizers: Sequence[MidiTokenizer]) -> RollAxes:
        """Time up to the end of the last note, and all keys that are played."""
        pairs = zip(completions, tokenizers, strict=True)
        return roll_axes([_notes(one.ids, tokenizer) for one, tokenizer in pairs])

    def token_times(self, ids: Tensor, tokenizer: MidiTokenizer) -> Tensor:
        """The time of each event."""
        return tokenizer.times(ids)

    def facts(self, completion: Completion, tokenizer: MidiTokenizer) -> dict[str, Any]:
        """Number of notes, duration of the result and of the prompt in it."""
        notes, prompt = _notes(completion.ids, tokenizer), _notes(completion.ids[: completion.prompt_length], tokenizer)
        return {"notes": len(notes.onset), "seconds": notes.end, "prompt_seconds": prompt.end}

    def write(self, completion: Completion, tokenizer: MidiTokenizer, path: Path, recipe: str = "") -> None:
        """Write a MIDI file, or a WAV file of the piano's sound."""
        score = tokenizer.decode(completion.ids)
        if path.suffix.lower() == ".wav":
            write_wav(path, render(score, SAMPLE_RATE), SAMPLE_RATE, marked(recipe))
        else:
            write_midi(path, score, marked(recipe))


def _notes(ids: Tensor, tokenizer: MidiTokenizer) -> Notes:
    notes = tokenizer.decode(ids).tracks[0].notes.numpy()
    onset, length = notes["time"] / STEPS_PER_SECOND, notes["duration"] / STEPS_PER_SECOND
    return Notes(onset, length, notes["pitch"], notes["velocity"])


APP_MODALITY = Music
