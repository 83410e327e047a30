"""How new results are, by an index of the training data: on the page, from the endpoint's functions and the command."""

import json
import shutil
from contextlib import suppress
from html import unescape
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file
from tab import Tab

from waveletgpt.app.instruments.novelty import Novelty
from waveletgpt.app.web.novelty import NoveltyHandlers
from waveletgpt.cli import main
from waveletgpt.common.overlap import build_index, to_tensors
from waveletgpt.models.checkpoint import read_info, update_info
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.tokenizers.units import cut

TEXT = "He took his hat and went slowly out of the room. " * 3


@pytest.fixture
def indexed(tiny_checkpoints: Path, tmp_path: Path) -> Path:
    """Checkpoints of text whose training data, one sentence, are indexed."""
    directory = tmp_path / "checkpoints"
    for name in ("text-baseline", "text-haar"):
        shutil.copytree(tiny_checkpoints / name, directory / name)
        trained_on = read_info(directory / name).trained_on
        update_info(directory / name, trained_on={**trained_on, "sha256": "mine"})
    tokenizer = tokenizer_from_dict(read_info(directory / "text-haar").tokenizer)
    units = cut(tokenizer, tokenizer.encode(TEXT)).hashes
    tensors, metadata = to_tensors(build_index([("novel.txt", units)], units, "text", "mine"))
    (directory / "seen").mkdir()
    save_file(tensors, directory / "seen" / "text.safetensors", metadata)
    return directory


def test_a_copy_is_told_from_something_new(indexed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = tmp_path / "story.txt"
    for text, told in (
        (
            "She said <he took his HAT, and went> away",
            ["9 words", "6 in a row", "novel.txt", "he took his HAT, and went"],
        ),
        ("Nothing of this stands there at all", ["fewer than 4 in a row"]),
    ):
        story.write_text(text)
        main_with("novelty", str(story), "--checkpoint", str(indexed / "text-haar"))
        printed = capsys.readouterr().out
        assert all(part in printed for part in [*told, "Held-out passages of this length"]), printed


@pytest.mark.parametrize(
    ("shared", "usual", "told"),
    [
        (0, [3.0, 3.0, 3.0], "share fewer than 4, so this is usual."),
        (0, [4.0, 5.0, 6.0], "share 5 (4 to 6 in eight of ten), so this is less than is usual."),
        (7, [4.0, 5.0, 6.0], "so this is more than is usual."),
        (6, [4.0, 5.0, 6.0], "so this is usual."),
    ],
)
def test_the_verdict_is_beside_what_held_out_passages_share(shared: int, usual: list[float], told: str) -> None:
    assert Novelty(100, "words", shared, 0, 0, "", 0.0, usual).verdict.endswith(told)


def test_without_an_index_it_says_how_to_make_one(
    tiny_checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tmp_path / "story.txt"
    story.write_text("Hello")
    main_with("novelty", str(story), "--checkpoint", str(tiny_checkpoints / "text-haar"))
    assert "make one with python training/index_data.py" in " ".join(capsys.readouterr().err.split())


def main_with(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["waveletgpt", *arguments])
        with suppress(SystemExit):
            main()


def test_the_page_compares_every_result_once_it_is_wanted(indexed: Path) -> None:
    tab = Tab("text", indexed)
    new = NoveltyHandlers(tab.handlers)
    assert "Done" in tab.finish(tab.ask())
    assert list(new.follow(tab.session)) == []
    (changes,) = new.choose(tab.session, True)
    shown = unescape(changes[tab.tab.novelty.view])
    assert shown.count("Held-out passages") == 2 and "<b>B</b>" in shown
    (result, _) = tab.results
    tokenizer = result.loaded.tokenizer
    copied = tokenizer.encode("Oh! He took his hat and went")
    for completion in result.completions:
        object.__setattr__(completion, "ids", torch.cat([completion.ids[: completion.prompt_length], copied]))
    (changes,) = new.follow(tab.session)
    assert "<q>He took his hat and went</q>" in changes[tab.tab.novelty.view]
    shutil.rmtree(indexed / "seen")
    (changes,) = new.follow(tab.session)
    assert "there is no index" in changes[tab.tab.novelty.view]
    assert json.dumps(changes[tab.tab.novelty.view])
