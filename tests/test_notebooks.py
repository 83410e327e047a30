"""The notebooks are those of docs/notebooks.py, and run."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "docs"))
from notebooks import FOLDER, KINDS, notebook  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_is_as_the_script_writes_it(kind: str) -> None:
    path = FOLDER / f"{kind}.ipynb"
    assert path.read_text("utf-8") == notebook(kind), "python docs/notebooks.py"
    nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("kind", ["text", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("audio", "music"))])
def test_a_notebook_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    whole = nbformat.read(FOLDER / f"{kind}.ipynb", as_version=4)
    NotebookClient(whole, timeout=240, resources={"metadata": {"path": f"{tmp_path}"}}).execute()
    shown = [output for cell in whole.cells for output in cell.get("outputs", ())]
    assert not [output for output in shown if output["output_type"] == "error"]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("image/png") == 3
    assert sum("waveletgpt" in output.get("data", {}).get("text/html", "") for output in shown) == 2
    assert "times as fast" in "".join(output.get("text", "") for output in shown)
