"""Text: continues a typed prompt or a text file, character by character."""

import json
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from waveletgpt.app.drawing.heat import in_levels
from waveletgpt.app.modalities.base import AppModality, Prompt, PromptField
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.prompts.example import Example, find_example
from waveletgpt.app.prompts.openings import OPENINGS
from waveletgpt.app.prompts.typed import in_alphabet
from waveletgpt.app.recipe import from_word, marked
from waveletgpt.app.streaming import Completion
from waveletgpt.app.web.markup import sheet
from waveletgpt.common.errors import InputError
from waveletgpt.common.files import write_text
from waveletgpt.tokenizers.characters import CharacterTokenizer

WORDS_OF_TITLE = 6
LARGEST = 1 << 20
"""Characters of a prompt, and bytes of a prompt's file, at most. Generation uses the end of it."""


class Text(AppModality[CharacterTokenizer]):
    """Text, whose tokens are characters."""

    prompt = PromptField("Prompt", "The beginning of a text, which both models continue.")
    length = Extent(500, 50, 2000, 50)
    keep = Extent(1000, 50, 2000, 50)
    length_unit = "words"
    # Of the training data: zcat novels.txt.gz | wc -mw counts 56,846,025 characters and 10,271,170 words.
    units_each = 5.53
    length_on_page = Extent(90, 10, 360, 10)
    files = (".txt", ".json")
    refresh = 0.2
    first = 0.04
    place = "a character"
    fact_types: ClassVar[dict[str, tuple[str, str]]] = {"text": ("string", "Prompt and continuation.")}

    def read_prompt(self, source: str | Path, tokenizer: CharacterTokenizer) -> Prompt:
        """Encode typed text or a UTF-8 file, in the characters of the model that are nearest to it."""
        typed = isinstance(source, str)
        try:
            given = _checked(source) if isinstance(source, str) else _read(source)
            text, note = in_alphabet(given, tokenizer.alphabet, tokenizer.replacement)
        except InputError as error:
            raise error if typed else InputError(f"{source}: {error}") from None
        if not text:
            where, what = ("", "type") if typed else (f"{source}: ", "give a file with")
            raise InputError(f"{where}the prompt is empty; {what} at least one character")
        return Prompt(tokenizer.encode(text), note, " ".join(text.split()[:WORDS_OF_TITLE]))

    def title(self, ids: Tensor, tokenizer: CharacterTokenizer) -> str:
        """The first words."""
        return " ".join(tokenizer.decode(ids[:200]).split()[:WORDS_OF_TITLE])

    def examples(self) -> tuple[Example, ...]:
        """Six opening lines."""
        return OPENINGS

    def example_file(self, name: str, folder: Path) -> str:  # noqa: ARG002, text needs no file
        """The text of an example."""
        return find_example(OPENINGS, name).text

    def view(
        self,
        completion: Completion,
        tokenizer: CharacterTokenizer,
        shared: int = 0,
        axes: None = None,  # noqa: ARG002
        surprise: Tensor | None = None,
    ) -> str:
        """The text, with a paler prompt. Text that both columns have in common is underlined."""
        prompt, new = (tokenizer.decode(ids) for ids in completion.ids.tensor_split([completion.prompt_length]))
        levels = None if surprise is None else in_levels(surprise).tolist()
        return sheet(prompt, new, shared, levels, writing=completion.ongoing)

    def label(self, token: int, tokenizer: CharacterTokenizer) -> str:
        """The character, in words where it cannot be seen."""
        character = tokenizer.alphabet[token]
        return {" ": "space", "\n": "new line", "\t": "tab"}.get(character, character)

    def facts(self, completion: Completion, tokenizer: CharacterTokenizer) -> dict[str, Any]:
        """Prompt and continuation."""
        return {"text": tokenizer.decode(completion.ids)}

    def write(self, completion: Completion, tokenizer: CharacterTokenizer, path: Path, recipe: str = "") -> None:
        """Write a UTF-8 file of the text, or a JSON file with text and recipe."""
        text = tokenizer.decode(completion.ids)
        if path.suffix.lower() == ".json":
            recipes = [one.to_dict() for one in from_word(recipe) if one] if recipe else []
            content = {"text": text, "made_from": recipes, "recipe": marked(recipe)}
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_text(path, text)

    def check_target(self, path: Path) -> None:
        """Accept any file name, but no directory."""
        if path.is_dir():
            raise InputError(f"{path} is a directory; give the name of a file to write")


def _checked(text: str) -> str:
    if len(text) > LARGEST:
        raise InputError(f"the prompt has {len(text):,} characters; give {LARGEST:,} at most, such as its end")
    return text


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"larger than {LARGEST >> 20} MB; give a shorter text, such as its end")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start} cannot be read)") from None
    except OSError as error:
        raise InputError(f"{error.strerror}; give a text file") from None


APP_MODALITY = Text
