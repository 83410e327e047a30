"""The commands in README.md and other pages, and what they run in."""

import os
import re
import sys
from pathlib import Path


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    pattern = rf"^ *```{language}\n(.*?)```"
    return re.findall(pattern, page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Every command in the shell blocks of a page, without comments, continued lines joined."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip()]


def environment() -> dict[str, str]:
    """Environment variables: this Python's scripts come first on the path, and each process has one thread."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
