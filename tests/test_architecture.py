"""Imports run one way, and nothing is unpickled."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("app", "models", "tokenizers", "training", "common", "waveletgpt")
MAY_USE = {
    "common": {"common"},
    "models": {"common", "models"},
    "tokenizers": {"common", "tokenizers"},
    "training": {"common", "models", "tokenizers", "training"},
    "app": {"app", "checkpoints", "common", "models", "tokenizers"},
    "waveletgpt": {"app", "cli", "common", "models", "pretrained", "tokenizers", "training"},
}
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """The full dotted name of everything that a source imports."""
    package = ["waveletgpt", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_run_one_way(folder: str) -> None:
    sources = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    assert sources
    for path in sources:
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "waveletgpt":
                assert parts[1] in MAY_USE[folder], f"{path.relative_to(ROOT)} imports {name}"
            else:
                assert parts[0] not in FOLDERS or parts[0] == "tokenizers", f"{path.relative_to(ROOT)}: {name}"


ROOMS = {
    "models/filters": {"kernels", "wavelet"},
    "tokenizers/audio": set(),
    "tokenizers/piano": set(),
    "training/preparing": {"data"},
    "training/quality": {"data"},
    "training/modalities": {"data", "quality"},
    "training/ranks": {"config"},
    "training/runs": {"config", "data", "optimizer", "modalities", "ranks"},
    "training/comparing": {"config", "data", "batches", "evaluation", "optimizer", "trainer", "ranks"},
    "app/drawing": set(),
    "app/prompts": set(),
    "app/serving": set(),
    "app/instruments": {"checkpoints", "modalities", "results"},
    "app/modalities": {"access", "streaming", "recipe", "drawing", "prompts", "web.markup"},
    "app/endpoints": {
        "access",
        "checkpoints",
        "instruments",
        "modalities",
        "recipe",
        "results",
        "scoring",
        "serving",
        "web",
    },
    "app/tabs": {
        "checkpoints",
        "drawing",
        "modalities",
        "recipe",
        "results",
        "runs",
        "serving",
        "streaming",
        "votes",
        "web",
    },
    "app/web": {
        "access",
        "checkpoints",
        "drawing",
        "endpoints",
        "instruments",
        "modalities",
        "openings",
        "recipe",
        "results",
        "scoring",
        "serving",
        "streaming",
        "tabs",
    },
    "app/commands": {
        "access",
        "checkpoints",
        "instruments",
        "locating",
        "modalities",
        "recipe",
        "results",
        "runs",
        "streaming",
        "votes",
    },
}
"""The modules of its own folder that each part may import beside itself; docs/architecture.md says why."""


def test_every_room_is_listed_in_the_documents_and_in_the_package() -> None:
    rooms = {f"{path.parent.relative_to(ROOT)}" for path in SOURCES} - set(FOLDERS)
    assert rooms == set(ROOMS)
    told, packages = ((ROOT / name).read_text("utf-8") for name in ("docs/architecture.md", "pyproject.toml"))
    for room in rooms:
        assert f"`{room}`" in told
        assert f'"waveletgpt.{room.replace("/", ".")}",' in packages


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_may(room: str) -> None:
    folder, _, name = room.partition("/")
    for path in sorted((ROOT / room).glob("*.py")):
        for found in imported(path):
            inside = found.removeprefix(f"waveletgpt.{folder}.")
            allowed = {name, *ROOMS[room]}
            if inside != found:
                assert any(f"{inside}.".startswith(f"{part}.") for part in allowed), f"{path} imports {found}"


def test_training_does_not_name_the_app() -> None:
    for path in (ROOT / "training").rglob("*.py"):
        assert "waveletgpt.app" not in path.read_text("utf-8"), path


def test_the_app_does_not_name_training() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        assert "waveletgpt.training" not in path.read_text("utf-8"), path


def test_modalities_are_a_file_each_and_do_not_touch_one_another() -> None:
    for modality in ("text", "audio", "music"):
        for path in (ROOT / "training" / f"{kind}_{modality}.py" for kind in ("prepare", "train")):
            others = {"text", "audio", "music"} - {modality}
            names = {name.split(".")[-2] for name in imported(path) if name.startswith("waveletgpt.training.")}
            assert not {name for name in names if name.endswith(tuple(f"_{other}" for other in others))}


def test_nothing_is_unpickled() -> None:
    refused = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in SOURCES:
        assert not {name.split(".")[0] for name in imported(path)} & refused, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("load", "save") and isinstance(node.value, ast.Name):
                assert node.value.id != "torch", f"{path.relative_to(ROOT)} uses torch.{node.attr}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant)
                assert node.value.value is False


def test_sources_are_short() -> None:
    """A file holds one idea, so it has at most 350 lines."""
    for path in SOURCES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
