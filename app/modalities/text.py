"""Text: continues a typed prompt or a text file, character by character."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.modalities.base import AppModality, Extent, PromptField
from waveletgpt.app.streaming import Completion
from waveletgpt.app.web.markup import sheet
from waveletgpt.common.errors import InputError
from waveletgpt.common.files import write_text
from waveletgpt.tokenizers.characters import CharacterTokenizer

EXAMPLES = ("It was a ", "it was a ")


class Text(AppModality[CharacterTokenizer]):
    """Text, whose tokens are characters."""

    prompt = PromptField("Prompt", "The beginning of a text, which both models continue.")
    length = Extent(500, 50, 2000, 50)
    keep = Extent(1000, 50, 2000, 50)
    files = ()
    refresh = 0.2
    fact_types: ClassVar[dict[str, str]] = {"text": "string"}

    def read_prompt(self, source: str | Path, tokenizer: CharacterTokenizer) -> Tensor:
        """Encode typed text or a UTF-8 file."""
        if isinstance(source, str):
            if not source:
                raise InputError("the prompt is empty; type at least one character")
            return tokenizer.encode(source)
        try:
            text = source.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{source}: not UTF-8 text (byte {error.start} cannot be read)") from None
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}; give a text file") from None
        if not text:
            raise InputError(f"{source}: the prompt is empty; give a file with at least one character")
        try:
            return tokenizer.encode(text)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def view(self, completion: Completion, tokenizer: CharacterTokenizer, shared: int = 0) -> str:
        """The text, with a paler prompt. Text that both columns have in common is underlined."""
        parts = completion.ids[: completion.prompt_length], completion.new[:shared], completion.new[shared:]
        return sheet(*(tokenizer.decode(part) for part in parts), writing=completion.ongoing)

    def facts(self, completion: Completion, tokenizer: CharacterTokenizer) -> dict[str, Any]:
        """Prompt and continuation."""
        return {"text": tokenizer.decode(completion.ids)}

    def write(self, completion: Completion, tokenizer: CharacterTokenizer, path: Path) -> None:
        """Write a UTF-8 file."""
        write_text(path, tokenizer.decode(completion.ids))

    def example(self, tokenizers: Sequence[dict[str, Any]]) -> str:
        """The first of `EXAMPLES` that every alphabet can encode."""
        alphabets = [str(tokenizer.get("alphabet", "")) for tokenizer in tokenizers]
        fitting = (text for text in EXAMPLES if all(set(text) <= set(alphabet) for alphabet in alphabets))
        return next(fitting, "")

    def check_target(self, path: Path) -> None:
        """Accept any file name, but no directory."""
        if path.is_dir():
            raise InputError(f"{path} is a directory; give the name of a file to write")


APP_MODALITY = Text
