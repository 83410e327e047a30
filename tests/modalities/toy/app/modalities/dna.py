"""DNA: a file of bases, continued base by base."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from toy.tokenizers.bases import BaseTokenizer

from waveletgpt.app.modalities.base import AppModality, Prompt, PromptField
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.streaming import Completion
from waveletgpt.common.files import write_text


class Dna(AppModality[BaseTokenizer]):
    prompt = PromptField("Prompt: a file of bases", "Without a prompt, both models begin.", suffixes=(".seq",))
    length_unit = "bases"
    length = Extent(40, 10, 100, 10)
    length_on_page = length
    keep = Extent(10, 10, 100, 10)
    files = (".seq",)
    refresh = 0.5
    fact_types: ClassVar[dict[str, tuple[str, str]]] = {"sequence": ("string", "Prompt and continuation.")}

    def read_prompt(self, source: str | Path, tokenizer: BaseTokenizer) -> Prompt:
        return Prompt(tokenizer.encode(Path(source).read_text().strip()))

    def view(
        self,
        completion: Completion,
        tokenizer: BaseTokenizer,
        shared: int = 0,
        axes: None = None,
        surprise: Tensor | None = None,
    ) -> str:
        return f"<pre>{tokenizer.decode(completion.ids)}</pre>"

    def facts(self, completion: Completion, tokenizer: BaseTokenizer) -> dict[str, Any]:
        return {"sequence": tokenizer.decode(completion.ids)}

    def write(self, completion: Completion, tokenizer: BaseTokenizer, path: Path, recipe: str = "") -> None:
        write_text(path, tokenizer.decode(completion.ids) + "\n")


APP_MODALITY = Dna
