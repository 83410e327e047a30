"""Raw audio: continues a file or a recording, sample by sample."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from waveletgpt.app.drawing.figures import SoundAxes, sound_axes, sound_figure
from waveletgpt.app.modalities.base import AppModality, Clip, Prompt, PromptField
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.prompts.example import Example, find_example
from waveletgpt.app.prompts.melodies import MELODIES, SAMPLE_RATE, sound
from waveletgpt.app.recipe import marked
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.audio.audio_file import audio_seconds, read_audio, write_wav
from waveletgpt.tokenizers.mulaw import MuLawTokenizer

LAST_SECONDS = 60.0
"""The end of a prompt that is read. More than is used, so that a recording that fades out ends quietly."""


class Audio(AppModality[MuLawTokenizer]):
    """Audio, whose tokens are samples of a waveform."""

    prompt = PromptField(
        "Prompt: an audio file or a recording",
        "Without a prompt, both models begin from silence.",
        suffixes=(".wav", ".flac", ".ogg", ".mp3"),
        records=True,
    )
    length = Extent(1.0, 0.1, 5.0, 0.1)
    length_unit = "seconds"
    length_on_page = length
    keep = Extent(4.0, 0.1, 5.0, 0.1)
    files = (".wav",)
    refresh = 1.0
    heard_early = True
    place = "the waveform"
    fact_types: ClassVar[dict[str, tuple[str, str]]] = {
        "seconds": ("number", "Duration of prompt and continuation."),
        "prompt_seconds": ("number", "Duration of the prompt at the beginning."),
        "sample_rate": ("integer", "Samples per second, in Hz."),
    }

    def read_prompt(self, source: str | Path, tokenizer: MuLawTokenizer) -> Prompt:
        """Encode the last minute of an audio file, resampled and set to the loudness of the training data."""
        seconds, rate = audio_seconds(source), tokenizer.sample_rate
        self.check_duration(Path(source), seconds)
        waveform = read_audio(source, rate, last_seconds=LAST_SECONDS)
        whole = round(seconds * rate) if len(waveform) >= LAST_SECONDS * rate else 0
        return Prompt(tokenizer.encode(waveform), title=Path(source).stem, whole=whole)

    def sample_ids(self, path: Path, tokenizer: MuLawTokenizer) -> Tensor:
        """The samples of a sound that training wrote, as loud as it is."""
        return tokenizer.encode(read_audio(path, tokenizer.sample_rate, loudness_dbfs=None, last_seconds=LAST_SECONDS))

    def examples(self) -> tuple[Example, ...]:
        """The beginnings of six tunes."""
        return MELODIES

    def example_file(self, name: str, folder: Path) -> Path:
        """Play an example on the piano, as a WAV file."""
        melody = find_example(MELODIES, name)
        path = folder / f"{name}.wav"
        write_wav(path, sound(melody), SAMPLE_RATE)
        return path

    def count(self, amount: float, tokenizer: MuLawTokenizer) -> int:
        """Number of samples in `amount` seconds."""
        return max(1, round(amount * tokenizer.sample_rate))

    def amount(self, count: int, tokenizer: MuLawTokenizer) -> float:
        """Duration of `count` samples in seconds."""
        return count / tokenizer.sample_rate

    def describe(self, count: int, tokenizer: MuLawTokenizer) -> str:
        """A number of samples in seconds, which is exact."""
        seconds = f"{self.amount(count, tokenizer):.4g}"
        return f"{seconds} second{'s' * (seconds != '1')}"

    def seconds(self, prompt: Prompt, tokenizer: MuLawTokenizer) -> float:
        """How long the prompt's whole file lasts."""
        return self.amount(prompt.whole or len(prompt.ids), tokenizer)

    def ids_until(self, seconds: float, prompt: Prompt, source: Any, tokenizer: MuLawTokenizer) -> Tensor:
        """The samples of a prompt up to a second, of a long file of the minute before it."""
        if not prompt.whole:
            return prompt.ids[: self.count(seconds, tokenizer)]
        waveform = read_audio(source, tokenizer.sample_rate, last_seconds=LAST_SECONDS, until=seconds)
        return tokenizer.encode(waveform)

    def view(
        self,
        completion: Completion,
        tokenizer: MuLawTokenizer,
        shared: int = 0,  # noqa: ARG002
        axes: SoundAxes | None = None,
        surprise: Tensor | None = None,
    ) -> str:
        """Waveform and spectrogram, and between them a band of surprise."""
        rate, samples = tokenizer.sample_rate, tokenizer.decode(completion.ids).numpy()
        axes = axes or self.axes([completion], [tokenizer])
        description = f"Waveform and spectrogram of {len(samples) / rate:.2f} seconds of sound"
        return sound_figure(
            samples, rate, description, boundary=completion.prompt_length / rate, axes=axes, surprise=surprise
        )

    def label(self, token: int, tokenizer: MuLawTokenizer) -> str:
        """The sample's value."""
        return f"{float(tokenizer.decode(torch.tensor([token]))):+.4f}".replace("-", "\N{MINUS SIGN}")

    def token_at(self, seconds: float, ids: Tensor, tokenizer: MuLawTokenizer) -> int:
        """The sample."""
        return min(round(seconds * tokenizer.sample_rate), len(ids) - 1)

    def axes(self, completions: Sequence[Completion], tokenizers: Sequence[MuLawTokenizer]) -> SoundAxes:
        """Time up to the end of the longest finished sound, frequency up to half of the highest sample rate."""
        pairs = list(zip(completions, tokenizers, strict=True))
        seconds = max((one.prompt_length + one.wanted) / tokenizer.sample_rate for one, tokenizer in pairs)
        sounds = [(tokenizer.decode(one.ids).numpy(), tokenizer.sample_rate) for one, tokenizer in pairs]
        return sound_axes(sounds, seconds)

    def clip(self, completion: Completion, tokenizer: MuLawTokenizer) -> Clip:
        """The sound of prompt and continuation."""
        return Clip(tokenizer.decode(completion.ids), tokenizer.sample_rate)

    def count_in_words(self, count: int, tokenizer: MuLawTokenizer) -> str:
        """Number of samples and their duration."""
        return f"{super().count_in_words(count, tokenizer)} ({count / tokenizer.sample_rate:.4f} s)"

    def facts(self, completion: Completion, tokenizer: MuLawTokenizer) -> dict[str, Any]:
        """Duration of the result and of the prompt in it, and sample rate."""
        rate = tokenizer.sample_rate
        return {
            "seconds": len(completion.ids) / rate,
            "prompt_seconds": completion.prompt_length / rate,
            "sample_rate": rate,
        }

    def write(self, completion: Completion, tokenizer: MuLawTokenizer, path: Path, recipe: str = "") -> None:
        """Write a WAV file."""
        write_wav(path, tokenizer.decode(completion.ids), tokenizer.sample_rate, marked(recipe))


APP_MODALITY = Audio
