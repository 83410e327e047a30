"""Raw audio: continues a file or a recording, sample by sample."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.drawing.figures import sound_figure
from waveletgpt.app.modalities.base import AppModality, Clip, Extent, PromptField
from waveletgpt.app.streaming import Completion
from waveletgpt.tokenizers.audio.audio_file import read_audio, write_wav
from waveletgpt.tokenizers.mulaw import MuLawTokenizer


class Audio(AppModality[MuLawTokenizer]):
    """Audio, whose tokens are samples of a waveform."""

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
        """Encode an audio file, resampled and set to the loudness of the training data."""
        return tokenizer.encode(read_audio(source, tokenizer.sample_rate))

    def count(self, amount: float, tokenizer: MuLawTokenizer) -> int:
        """Number of samples in `amount` seconds."""
        return max(1, round(amount * tokenizer.sample_rate))

    def view(self, completion: Completion, tokenizer: MuLawTokenizer, shared: int = 0) -> str:  # noqa: ARG002
        """Waveform and spectrogram."""
        rate = tokenizer.sample_rate
        boundary, total = completion.prompt_length / rate, (completion.prompt_length + completion.wanted) / rate
        description = f"Waveform and spectrogram of {len(completion.ids) / rate:.2f} seconds of sound"
        return sound_figure(tokenizer.decode(completion.ids).numpy(), rate, description, boundary=boundary, total=total)

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

    def write(self, completion: Completion, tokenizer: MuLawTokenizer, path: Path) -> None:
        """Write a WAV file."""
        write_wav(path, tokenizer.decode(completion.ids), tokenizer.sample_rate)


APP_MODALITY = Audio
