"""README.md and the pages in docs/: their commands run, and their links and paths lead somewhere."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from pages import blocks, commands, environment

from waveletgpt.models.gpt import GPTConfig
from waveletgpt.tokenizers.audio.audio_file import write_wav
from waveletgpt.tokenizers.midi import write_midi
from waveletgpt.training.comparing.variants import parse_variants
from waveletgpt.training.preparing.composing import compose

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
WITH_COMMANDS = [README, *(DOCS / f"{name}.md" for name in ("training", "comparing", "generating", "results"))]
"""Pages whose commands are run in one folder, in this order."""
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
"""Its commands are run by test_contributing.py."""
WITH_PATHS = [*WITH_COMMANDS, CONTRIBUTING, DOCS / "architecture.md", DOCS / "log.md"]
READMES = [ROOT / name / "README.md" for name in ("recipes", "results")]
ALL = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", *READMES, *sorted(DOCS.glob("*.md"))]
ELSEWHERE = ("make ", "docker ", "source ", "pip ", "uvx ", "waveletgpt app ")
"""What commands begin with that are tried in other tests, as the recipes are, or install something."""
LENGTHS = {"text": "20", "audio": "0.01", "music": "20"}
"""The values of the flags that set how much each kind of data generates in these tests."""


def values_of(words: list[str], flag: str) -> list[str]:
    """The values of a flag in a command; none if the command does not have the flag."""
    if flag not in words:
        return []
    rest = words[words.index(flag) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def with_flag(words: list[str], flag: str, *values: str) -> list[str]:
    """The command with these values of a flag, in place of those that it has."""
    at = words.index(flag) if flag in words else len(words)
    return [*words[:at], flag, *values, *words[at + 1 + len(values_of(words, flag)) :]]


def reduced(line: str) -> list[str]:
    """The command with its flags kept and their values reduced to the debug preset and builtin data."""
    words = shlex.split(line)
    script = next((Path(word).stem for word in words if word.endswith(".py")), words[1])
    if script.startswith("prepare_"):
        words = with_flag(words, "--source", "builtin")
        if "--keep-together" in words:  # its values name files of the real data
            at = words.index("--keep-together")
            del words[at : at + 1 + len(values_of(words, "--keep-together"))]
    elif script.startswith("train_") or script == "compare":
        words = reduced_training(words, script)
    elif script == "evaluate":
        words = with_flag(words, "--windows", "4")
        is_shipped = values_of(words, "--checkpoint")[0].startswith("checkpoints/")
        if is_shipped and values_of(words, "--data") != ["data/new"]:  # trained on the alphabet of the real data
            words = with_flag(words, "--checkpoint", "runs/text-debug/best")
    elif script == "publish":
        words = with_flag(with_flag(words, "--run", "runs/text-debug"), "--samples", "2")
        words = with_flag(words, "--out", "published")  # checkpoints/ is the project's own
    elif words[:2] == ["waveletgpt", "train"]:
        files = {"text": "stories.txt", "audio": "recording.wav", "music": "pieces"}[words[2]]
        words = ["waveletgpt", "train", words[2], files, *words[next(i for i, w in enumerate(words) if w[0] == "-") :]]
        words = with_flag(with_flag(words, "--minutes", "0.01"), "--preset", "debug")
    elif words[0] != "waveletgpt" or words[1] not in {"inspect", "novelty", "runs", "votes"}:
        assert words[:2] == ["waveletgpt", "generate"], f"this test does not know the command {line}"
        words = with_flag(words, "--length", LENGTHS[words[2]])
    return words


def reduced_training(words: list[str], script: str) -> list[str]:
    """The words of a command that trains, with few steps of a small model."""
    words = with_flag(words, "--no-tensorboard")
    if "--track" in words:  # the trackers need not be installed
        words = with_flag(words, "--track")
    if "--start-from" in words and not values_of(words, "--start-from")[0].startswith(
        "runs/"
    ):  # has a shape of its own
        words = with_flag(with_flag(words, "--batch-size", "2"), "--eval-windows", "4")
    else:
        words = with_flag(words, "--preset", "debug")
    steps = "30" if "--resume" in words else "10"  # a resumed run needs more steps than it already has
    words = with_flag(with_flag(words, "--steps", steps), "--eval-every", "10")
    for block_size in values_of(words, "--model.block-size"):
        words = with_flag(words, "--model.block-size", str(int(block_size) // 8))
    for n_levels in values_of(words, "--model.n-levels"):
        words = with_flag(words, "--model.n-levels", str(int(n_levels) - 3))
    if script == "compare":
        words = with_flag(with_flag(words, "--seeds", "0"), "--timing-rounds", "1")
        for flag, count in {"--mixers": 2, "--lrs": 1}.items():
            if values := values_of(words, flag):
                words = with_flag(words, flag, *values[:count])
    return words


def test_commands_become_small_and_keep_their_flags() -> None:
    """A README that trains 4,000 steps must not do so here."""
    line = "python training/train_text.py --data d --out r --steps 4000 --model.block-size 256 --model.n-levels 8"
    small = "python training/train_text.py --data d --out r --steps 10 --model.block-size 32 --model.n-levels 5"
    assert reduced(line) == [*small.split(), "--no-tensorboard", "--preset", "debug", "--eval-every", "10"]
    for page in WITH_COMMANDS:
        for command in commands(page):
            if "training/train_" in command or "compare.py" in command:
                words = reduced(command)
                assert values_of(words, "--preset") == ["debug"] or "--start-from" in words
                assert int(values_of(words, "--steps")[0]) <= 30, command


def test_every_mixer_named_exists() -> None:
    named = [
        values for page in WITH_COMMANDS for line in commands(page) if (values := values_of(line.split(), "--mixers"))
    ]
    assert named
    for mixers in named:
        parse_variants(tuple(mixers), GPTConfig())
    for page in WITH_COMMANDS:
        for line in commands(page):
            for mixer in values_of(line.split(), "--model.mixer"):
                GPTConfig(mixer=mixer)


def test_the_first_two_commands_are_make_app_and_make_test() -> None:
    assert commands(README)[:2] == ["make app", "make test"]


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in WITH_PATHS)
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert {"app", "test"} <= named
    assert named <= targets


def test_every_path_named_exists() -> None:
    folders = "app|benchmarks|checkpoints|common|docs|models|recipes|tests|tokenizers|training"
    for page in WITH_PATHS:
        named = set(re.findall(rf"(?<![\w./])(?:{folders})/[\w./-]*\w(?![\w*])", page.read_text(encoding="utf-8")))
        assert named, page
        assert not {path for path in named if not (ROOT / path).exists()}, page


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anywhere(words: list[str]) -> list[str]:
    """The command without its output folder."""
    return with_flag(words, "--out")


def write_own_files(folder: Path) -> None:
    """What `waveletgpt train` reads in these tests, in place of people's files."""
    (folder / "stories.txt").write_text(topics["class"], encoding="utf-8")
    write_wav(folder / "recording.wav", torch.linspace(0, 3000, 60_000).sin() / 2, 8000)
    (folder / "pieces").mkdir()
    for seed in range(4):
        write_midi(folder / "pieces" / f"{seed}.mid", compose(seed, 30.0))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_run(tmp_path: Path) -> None:
    for folder in ("training", "checkpoints"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    write_own_files(tmp_path)
    ran: list[list[str]] = []
    for page in WITH_COMMANDS:
        for line in commands(page):
            if (
                line.startswith(("make ", "docker ", "source ", "pip ", "uvx ", "waveletgpt app "))
                or "bash recipes/" in line
            ):
                continue  # tests/test_recipes.py runs the recipes
            words = reduced(line)
            if words in ran:
                continue
            same = next((other for other in ran if "--source" in words and anywhere(other) == anywhere(words)), None)
            if same:  # one builtin source under two names
                source, target = (tmp_path / values_of(command, "--out")[0] for command in (same, words))
                shutil.copytree(source, target)
                continue
            result = subprocess.run(
                words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False
            )
            assert result.returncode == 0, f"{page.name}: {line}\n{result.stdout}{result.stderr}"
            ran.append(words)
    scripts = {Path(words[1]).stem for words in ran if words[0] == "python"}
    kinds = ("text", "audio", "music")
    assert {f"{verb}_{kind}" for verb in ("prepare", "train") for kind in kinds} | {"evaluate", "compare"} <= scripts


@pytest.mark.slow
def test_the_app_has_the_flags_that_the_pages_give_it() -> None:
    used = {flag for page in WITH_COMMANDS for line in commands(page) for flag in flags_of_app(line)}
    command = ["waveletgpt", "app", "--help"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert used
    assert not {flag for flag in used if flag not in result.stdout}


def flags_of_app(line: str) -> list[str]:
    """The flags in a `waveletgpt app` command; none in another command."""
    return re.findall(r"--[\w-]+", line) if line.startswith("waveletgpt app ") else []


@pytest.mark.parametrize("page", [README, DOCS / "generating.md"], ids=lambda page: page.name)
def test_the_examples_in_python_run(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    offline = [block for block in blocks(page, "python") if "Client(" not in block]
    assert offline
    for code in offline:
        exec(code, {})
        assert len(capsys.readouterr().out) > 50
