"""The README's commands work, run as they stand there on the debug preset and the data that the project makes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command in the README's shell blocks, comments dropped and continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def test_the_first_two_commands_are_make_app_and_make_test() -> None:
    assert commands()[:2] == ["make app", "make test"]


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", "\n".join(commands()) + " ".join(re.findall(r"`(make [a-z]+)`", README))))
    assert named
    assert named <= targets


def test_every_path_named_exists() -> None:
    named = re.findall(r"\b(?:docs|training|benchmarks|models|tokenizers|app|checkpoints)/[\w./-]*[\w]", README)
    missing = {path for path in named if not (ROOT / path).exists()}
    assert named
    assert not missing


@pytest.mark.timeout(600)
def test_the_commands_run(tmp_path: Path) -> None:
    """In order, in an empty folder: real data are replaced by the builtin ones, presets by `debug`."""
    for folder in ("training", "benchmarks", "checkpoints"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = []
    for line in commands():
        words = [word for word in shlex.split(line) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if not words or words[0] not in {"python", "waveletgpt", "torchrun"} or words[1] in {"app"}:
            continue
        if "--keep-together" in words:  # names files of the real data
            del words[words.index("--keep-together") :]
        for flag, small in {
            "--source": "builtin",
            "--preset": "debug",
            "--length": None,
            "--seeds": "0",
        }.items():
            if flag in words and small:
                words[words.index(flag) + 1] = small
        script = Path(words[1]).stem
        if script in {"train_text", "train_audio", "train_music", "compare"} and "--preset" not in words:
            words += ["--preset", "debug"]
        if words[:2] == ["waveletgpt", "generate"]:
            words[words.index("--length") + 1] = {"text": "20", "audio": "0.01", "music": "20"}[words[2]]
        if script == "evaluate":
            words += ["--windows", "4"]
        if script == "compare":  # one seed, and few steps to time
            del words[words.index("--seeds") + 2 :]
            words += ["--preset", "debug", "--timing-rounds", "2"]
        result = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
        ran.append(script if words[0] == "python" else words[1])
    assert {
        "prepare_text",
        "prepare_audio",
        "prepare_music",
        "train_text",
        "train_audio",
        "train_music",
    } <= set(ran)
    assert {"evaluate", "generate"} <= set(ran)


def test_generation_in_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (code,) = (block for block in blocks if "generate(" in block)
    exec(code, {})
    assert len(capsys.readouterr().out) > 200
