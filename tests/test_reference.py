"""The API reference (`make docs`)."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def words(page: Path) -> str:
    """The text of a page, as it is read."""
    parser, found = HTMLParser(), list[str]()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(page.read_text("utf-8"))
    return "".join(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_has_a_page_for_each_public_module_and_no_warning(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    command = [sys.executable, ROOT / "docs" / "reference.py", tmp_path / "api"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout == f"{tmp_path / 'api' / 'index.html'}\n"
    pages = tmp_path / "api" / "waveletgpt"
    for folder in ("models", "tokenizers", "training", "common"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.stem != "__init__":
                assert (pages / path.relative_to(ROOT)).with_suffix(".html").is_file(), path
    assert "def load(" in words(tmp_path / "api" / "waveletgpt.html")
    assert "class GPT(" in words(pages / "models" / "gpt.html")
    assert "def train(" in words(pages / "training" / "trainer.html")
