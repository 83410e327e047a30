"""Write notebooks/{text,audio,music}.ipynb from notebooks/template.md, whose code becomes cells."""

import json
import re
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
KINDS = {
    "text": ("Python's own manual", "characters", 'model.generate("The ", length=200, seed=1)'),
    "audio": ("ten short piano pieces", "samples", "model.generate(length=0.5, seed=1)"),
    "music": ("forty piano pieces that waveletgpt composes", "events", "model.generate(length=200, seed=1)"),
}
"""By kind of data: the builtin data, the tokens, and how to generate."""


def notebook(kind: str) -> str:
    """The notebook of a kind of data, as nbformat 4.5 has it, without outputs."""
    data, tokens, generate = KINDS[kind]
    template = Template((FOLDER / "template.md").read_text(encoding="utf-8"))
    text = template.substitute(kind=kind, data=data, tokens=tokens, generate=generate)
    cells = []
    for number, part in enumerate(filter(str.strip, re.split(r"^(```python\n.*?^```\n)", text, flags=re.M | re.S))):
        is_code = part.startswith("```")
        source = part.strip().removeprefix("```python\n").removesuffix("\n```").splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number:02}", "cell_type": "code" if is_code else "markdown"}
        cell |= {"metadata": {}, "source": source} | ({"execution_count": None, "outputs": []} if is_code else {})
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in KINDS:
        (FOLDER / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")
