"""Raw audio: a file or a recording, continued sample by sample."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.drawing.figures import sound_figure
from waveletgpt.app.modalities.base import AppModality, Clip, Extent, PromptField
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.audio.audio_file import read_audio, write_wav
from waveletgpt.tokenizers.mulaw import MuLawTokenizer


class Audio(AppModality[MuLawTokenizer]):
    """Samples of a waveform."""

    prompt = PromptField(
        "Prompt: an audio file or a recording",
        "Without one, both models begin from silence.",
        suffixes=(".wav", ".flac", ".ogg", ".mp3"),
        records=True,
    )
    length = Extent(1.0, 0.1, 5.0, 0.1)
    keep = Extent(1.0, 0.1, 5.0, 0.1)
    files = (".wav",)
    refresh = 1.0
    heard_early = True
    fact_types: ClassVar[dict[str, str]] = {
        "seconds": "number",
        "prompt_seconds": "number",
        "sample_rate": "integer",
    }

    def read_prompt(self, source: str | Path, tokenizer: MuLawTokenizer) -> Tensor:
        """Ids of a sound file, resampled and brought to the loudness of the training data."""
        return tokenizer.encode(read_audio(source, tokenizer.sample_rate))

    def count(self, amount: float, tokenizer: MuLawTokenizer) -> int:
        """Samples in `amount` seconds."""
        return max(1, round(amount * tokenizer.sample_rate))

    def view(self, completion: Completion, tokenizer: MuLawTokenizer, shared: int = 0) -> str:  # noqa: ARG002
        """Waveform above spectrogram."""
        rate = tokenizer.sample_rate
        boundary, total = completion.prompt_length / rate, (completion.prompt_length + completion.wanted) / rate
        description = f"Waveform and spectrogram of {len(completion.ids) / rate:.2f} seconds of sound"
        return sound_figure(tokenizer.decode(completion.ids).numpy(), rate, description, boundary=boundary, total=total)

    def clip(self, completion: Completion, tokenizer: MuLawTokenizer) -> Clip:
        """The sound itself."""
        return Clip(tokenizer.decode(completion.ids), tokenizer.sample_rate)

    def count_in_words(self, count: int, tokenizer: MuLawTokenizer) -> str:
        """Samples, and how long they last."""
        return f"{super().count_in_words(count, tokenizer)} ({count / tokenizer.sample_rate:.4f} s)"

    def facts(self, completion: Completion, tokenizer: MuLawTokenizer) -> dict[str, Any]:
        """How long it is, and how much of that is the prompt."""
        rate = tokenizer.sample_rate
        return {
            "seconds": len(completion.ids) / rate,
            "prompt_seconds": completion.prompt_length / rate,
            "sample_rate": rate,
        }

    def write(self, completion: Completion, tokenizer: MuLawTokenizer, path: Path) -> None:
        """Write a WAV file."""
        write_wav(path, tokenizer.decode(completion.ids), tokenizer.sample_rate)


APP_MODALITY = Audio
