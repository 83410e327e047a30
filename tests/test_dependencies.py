"""The lock file and the list of licences fit pyproject.toml and what is installed."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))
from licences import DIRECT, key, licence  # noqa: E402


def test_the_lock_file_holds_exact_versions_within_the_open_ranges() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    locked = {key(name): number for name, number in (line.split("==") for line in lines[1:])}
    for needed in DIRECT:
        assert needed.specifier.contains(locked[key(needed.name)]), needed
    torch = re.search(r"^TORCH  \?= torch==(.*)$", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    assert torch and locked["torch"] == torch[1]


def test_the_licence_of_each_direct_dependency_is_listed() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| \**([\w.-]+)\** \| .* \| (.*) \|$", page, re.MULTILINE))
    for needed in DIRECT:
        assert f"| **{key(needed.name)}** |" in page, needed
        assert rows[key(needed.name)] == licence(distribution(needed.name)), f"make licences ({needed})"
    assert len(rows) > 2 * len(DIRECT) and "UNKNOWN" not in page and "not told" not in page
    assert {"fastapi", "starlette", "tokenizers"} <= rows.keys()  # what others bring along


@pytest.mark.slow
def test_an_audit_without_its_service_says_so_and_does_not_fail() -> None:
    command = [sys.executable, ROOT / ".ci" / "audit.py"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    assert done.returncode == 0 and done.stdout.startswith("The versions are not audited, because ")
    assert done.stdout.count("\n") == 1 and not done.stderr


def test_the_tests_run_with_what_pyproject_allows() -> None:
    for needed in DIRECT:
        if needed.marker is None or needed.marker.evaluate():
            assert needed.specifier.contains(version(needed.name).partition("+")[0]), needed
