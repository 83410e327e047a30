"""The Dockerfile: what it copies, and its commands in a clean virtual environment."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
CONTEXT = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
"""The files and folders that docker sees."""


def arguments(instruction: str) -> list[str]:
    """What stands after an instruction, for each line that has it."""
    return [line.removeprefix(instruction).strip() for line in LINES if line.startswith(instruction)]


def test_torch_is_that_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (version,) = re.findall(r"^TORCH  \?= (.*)$", makefile, flags=re.MULTILINE)
    assert version in shlex.split(arguments("RUN")[0])


def test_docker_sees_each_package_and_what_their_build_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = {"waveletgpt", *project["tool"]["setuptools"]["package-dir"].values()}
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert set(CONTEXT) == folders | files


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_commands_install_an_app_that_passes_the_health_check(tmp_path: Path, free_port: int) -> None:
    source, home = tmp_path / "src", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    for name in CONTEXT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env = inherited | {"PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}", "HOME": str(home)}
    env.pop("XDG_DATA_HOME", None)

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=home, env=env, check=False, capture_output=True, text=True)

    for line in arguments("RUN"):
        if "pip install" in line:
            # The index of PyTorch cannot be reached everywhere; another one may have its builds too.
            command = line.replace("--index-url", "--extra-index-url").replace("/src", str(source))
            done = run([word for word in shlex.split(command) if not word.startswith("--mount=")])
            assert done.returncode == 0, done.stdout + done.stderr
    text = run(["waveletgpt", "generate", "text", "--checkpoint", "text-haar", "--length", "20"])
    assert text.returncode == 0 and len(text.stdout) > 20, text.stderr

    (start,), (check,) = arguments("CMD"), arguments("HEALTHCHECK")
    healthy = json.loads(check.partition("CMD ")[2].replace("7860", str(free_port)))
    with (tmp_path / "log").open("w") as log:
        app = subprocess.Popen(
            [*json.loads(start), "--port", str(free_port)], cwd=home, env=env, stdout=log, stderr=log
        )
        try:
            assert run(healthy).returncode != 0, "the check passes before the app is there"
            deadline = time.monotonic() + 400
            while run(healthy).returncode != 0:
                assert app.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/") as page:
                assert "waveletgpt" in page.read().decode()
        finally:
            app.terminate()
            app.wait(timeout=30)
