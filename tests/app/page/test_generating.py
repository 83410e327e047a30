"""Generate: both cards, bad input, what is said about the two."""

import itertools
import math
import re
import shutil
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from tab import NOTES, SECONDS, SETTINGS, Tab

from waveletgpt.app.recipe import find_recipe
from waveletgpt.tokenizers.characters import CharacterTokenizer


def test_generate_shows_both_cards_with_files_and_a_link(text: Tab) -> None:
    assert text.finish(text.ask(prompt="Zoé", seed=5)).startswith('<p class="note" role="status">Done in ')
    assert "Note: é became e." in text.status
    a, b = text.results
    assert [one.completion.written for one in (a, b)] == [61, 61] and a.name == "text-baseline"
    assert text.shown[text.tab.generate]["value"] == "Generate"
    for card, result in zip(text.tab.cards, (a, b), strict=True):
        assert unescape(text.shown[card.about]).count("trained on") == 1
        assert text.shown[card.go_on]["interactive"] and not text.shown[card.undo]["interactive"]
        files = {suffix: Path(text.shown[button]["value"]) for suffix, button in card.downloads.items()}
        assert set(files) == {".txt", ".json"}
        assert result.name.removeprefix("text-") in files[".txt"].name and "seed5" in files[".txt"].name
    (entry,) = text.history
    assert entry["word"] == text.shown[text.tab.address]
    assert entry["title"] == "Zoe … text-baseline and text-haar, seed 5"


def test_files_are_there_while_they_are_shown(text: Tab) -> None:
    text.shown |= text.ask(variations=2)
    for changes in text.run():
        if text.tab.bundle in changes:
            path = Path(changes[text.tab.bundle]["value"])
            names = zipfile.ZipFile(path).namelist()
            assert len(names) == 4 and {name[:2] for name in names} == {"A-", "B-"}
            for suffix, button in text.tab.cards[0].downloads.items():
                file = Path(changes[button]["value"])
                assert file.suffix == suffix and file.is_file()
                if suffix == ".json":
                    assert find_recipe(file) == [text.results[0].recipe]
    assert not path.exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prompt": "€"}, "the model does not know € (character 1)"),
        ({"prompt": 5}, "prompt is 5; it must be text"),
        ({"length": 1}, "length is 1 words; it must be from 10 to 360"),
        ({"length": 1e9}, "length is 1e+09 words"),
        ({"length": math.nan}, "length is nan; it must be a number below 2**64"),
        ({"keep": 0}, "keep is 0 characters; it must be from 50 to 2000"),
        ({"temperature": None}, "temperature is empty"),
        ({"seed": 2**64}, "it must be a number below 2**64"),
        ({"seed": 2**64 - 1, "paired": False}, "below 2**64"),
        ({"variations": 5}, "variations is 5"),
        ({"names": ("nowhere", None)}, "there is no text checkpoint 'nowhere'; choose text-baseline, text-haar"),
        ({"names": (None, None)}, "no checkpoint is chosen"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing_else(text: Tab, wrong: dict[str, Any], told: str) -> None:
    text.finish(text.ask())
    before, shown = text.session.results, dict(text.shown)
    text.names = wrong.pop("names", text.names)
    line = text.finish(text.ask(**wrong))
    assert told in line and "wrong" in line and "\n" not in line
    assert text.session.results is before and not text.session.running
    changed = {key for key, value in text.shown.items() if value is not shown[key]}
    assert changed <= {text.tab.session, text.tab.status, text.tab.generate}
    assert text.shown[text.tab.generate]["value"] == "Generate"


def test_a_corrupt_file_is_named_as_the_person_knows_it(music: Tab, tmp_path: Path) -> None:
    (tmp_path / "junk.mid").write_bytes(b"junk" * 100)
    told = music.finish(music.ask({"path": str(tmp_path / "junk.mid")}, **NOTES))
    assert "junk.mid: not a MIDI file" in told and str(tmp_path) not in told
    told = music.finish(music.handlers.open_file(music.session, {"path": str(tmp_path / "junk.mid")}))
    assert "junk.mid holds no recipe; give a WAV, MIDI or JSON file" in told and str(tmp_path) not in told


def test_a_vocabulary_that_does_not_match(tmp_path: Path, tiny_checkpoints: Path) -> None:
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "text")
    config = tmp_path / "text" / "config.json"
    config.write_text(config.read_text().replace('"alphabet": "\\n ', '"alphabet": "\\n'))
    tab = Tab("text", tmp_path, (None, "text"))
    told = tab.finish(tab.ask())
    assert "text/config.json" in told and "they must be equal" in told and str(tmp_path) not in told


def test_one_card_alone(text: Tab) -> None:
    text.names = ("text-baseline", None)
    assert "Done" in text.finish(text.ask())
    assert text.session.results[1] is None and "blank" in text.shown[text.tab.cards[1].view]
    assert "A and B" not in text.shown[text.tab.agreement]
    assert list(text.handlers.score(text.session)) == [{text.tab.losses: gr.skip()}]


def test_unpaired_cards_draw_with_seeds_of_their_own(text: Tab) -> None:
    text.names = ("text-haar", "text-haar")
    text.finish(text.ask(seed=4, paired=False))
    a, b = text.results
    assert (a.plan.sampling.seed, b.plan.sampling.seed) == (4, 5) and text.ids()[0] != text.ids()[1]
    assert "A and B" not in text.shown[text.tab.agreement]


def test_the_page_tells_where_the_two_part_and_what_each_thinks_of_the_other(text: Tab) -> None:
    text.finish(text.ask(seed=5))
    a, b = text.results
    same = next(i for i, (x, y) in enumerate(zip(a.completion.new, b.completion.new, strict=True)) if x != y)
    expected = "A and B choose differently from the first character on." if same == 0 else f"the first {same} character"
    assert expected in unescape(text.shown[text.tab.agreement])
    assert "A: …" in unescape(text.shown[text.tab.losses])
    *_, scored = text.handlers.score(text.session)
    told = unescape(scored[text.tab.losses])
    for name, other, of, by in (("A", "B", a, b), ("B", "A", b, a)):
        with torch.inference_mode():
            ids = torch.cat([of.task.prompt, of.completion.new])[None]
            log_probs = by.loaded.model(ids).log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        bits = -float(log_probs[len(of.task.prompt) - 1 :].mean()) / math.log(2)
        own = of.completion.nats_per_token / math.log(2)
        assert f"{name} by its own model: {own:.2f} bits per character, by {other}'s model: {bits:.2f}" in told
    scoring = text.handlers.score(text.session)
    next(scoring)
    text.session.results = [None, None]  # another press
    assert list(scoring) == []


def test_two_of_the_same_agree_in_everything(tiny_checkpoints: Path) -> None:
    tab = Tab("audio", tiny_checkpoints, ("audio-haar", "audio-haar"))
    tab.finish(tab.ask(None, **SECONDS))
    assert "A and B wrote the same 400 samples (0.1000 s)." in unescape(tab.shown[tab.tab.agreement])


def test_models_of_different_vocabularies_are_not_compared(
    tiny_checkpoints: Path, tmp_path: Path, save_tiny: Callable[..., Path]
) -> None:
    shutil.copytree(tiny_checkpoints / "text-baseline", tmp_path / "a")
    save_tiny(tmp_path / "b", "text", CharacterTokenizer("abc"), "haar")
    tab = Tab("text", tmp_path, ("a", "b"))
    tab.finish(tab.ask())
    assert "A and B" not in tab.shown[tab.tab.agreement]
    assert "by its own model" in tab.shown[tab.tab.losses] and "…" not in tab.shown[tab.tab.losses]
    assert list(tab.handlers.score(tab.session)) == [{tab.tab.losses: gr.skip()}]
    assert "b has other tokens than a" in tab.finish(tab.handlers.branch(0, tab.session, "a", "b", *SETTINGS))


def test_sound_is_heard_while_it_grows(tiny_checkpoints: Path, slowly: list[int]) -> None:
    tab = Tab("audio", tiny_checkpoints)
    player = tab.tab.transport
    tab.shown |= tab.ask(None, length=0.5, keep=1)
    tab.handlers.modality.refresh, refresh = 0.05, tab.handlers.modality.refresh
    values = [changes[player] for changes in tab.run() if player in changes]
    tab.handlers.modality.refresh = refresh
    clips = [value["cards"][0]["pcm"] for value in values if value["cards"][0] and "pcm" in value["cards"][0]]
    assert len(clips) > 2 and len({value["version"] for value in values}) == 1
    for shorter, longer in itertools.pairwise(clips):
        assert longer.startswith(shorter)  # only the new part is sent
    assert [card["file"]["path"].endswith("seconds.wav") for card in values[-1]["cards"]] == [True, True]


def test_done_counts_the_time_from_the_beginning(text: Tab, slowly: list[int]) -> None:
    seconds = re.search(r"Done in (\d+\.\d) s", text.finish(text.ask()))
    assert seconds and float(seconds[1]) >= 0.1
    assert re.search(r"Writing \.\.\. \d+ s left", results_of_progress(text))


def results_of_progress(tab: Tab) -> str:
    """The statuses of a run, one after another."""
    tab.ask(length=100)
    return " ".join(unescape(str(changes[tab.tab.status])) for changes in tab.run())
