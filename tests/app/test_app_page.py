"""The handlers of the page: what each press does to the cards of its tab."""

import errno
import itertools
import math
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch

from waveletgpt.app import openings, results, streaming
from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import Prompt, load_modality
from waveletgpt.app.openings import opening, write_opening
from waveletgpt.app.recipe import find_recipe
from waveletgpt.app.results import Result, grow, load_named, new_result
from waveletgpt.app.serving import visitors
from waveletgpt.app.serving.scheduling import AT_WORK
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.web.inputs import Settings
from waveletgpt.app.web.page import build_page, open_page
from waveletgpt.app.web.session import Session
from waveletgpt.app.web.tab import build_tab
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.generation import Step, generate
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.characters import CharacterTokenizer

WORDS = 11
"""Length of the results of text: 61 characters."""
SETTINGS = Settings(WORDS, 1, 0, 1, True, 100, 0, 1, 0, 1)
SECONDS = {"length": 0.1, "keep": 1}
NOTES = {"length": 20, "keep": 100}


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """No test waits for the engine to be ready, except the test of that wait."""
    streaming.make_ready()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiny models write less than a thousand tokens a second, and results are read often. Counts the steps."""
    steps: list[int] = []

    def slow(*arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(*arguments, **settings):
            time.sleep(0.002)
            steps.append(1)
            yield step

    monkeypatch.setattr(streaming, "generate", slow)
    monkeypatch.setattr(results.grow, "__kwdefaults__", {"every": 0.02})
    return steps


class Tab:
    """A tab and a visitor, who has pressed nothing yet."""

    def __init__(self, name: str, directory: Path, names: tuple[str | None, str | None] | None = None) -> None:
        with gr.Blocks():
            self.handlers = build_tab(load_modality(name), Library(directory, name), gr.BrowserState([]), Visitors())
        self.tab, self.session = self.handlers.tab, Session()
        self.names = names or (f"{name}-baseline", f"{name}-haar")
        self.history: Any = []
        self.shown: dict[Any, Any] = {}

    def run(self) -> Iterator[dict[Any, Any]]:
        """The work after a press; what it shows is remembered."""
        for changes in self.handlers.run(self.session, self.history):
            self.shown |= changes
            self.history = changes.get(self.tab.history, self.history)
            yield changes

    def finish(self, changes: dict[Any, Any]) -> str:
        """Show what a press answers, do its work, and return the status."""
        self.shown |= changes
        list(self.run())
        return self.status

    def ask(self, prompt: Any = "a", example: str = "", until: float = 0, **settings: Any) -> dict[Any, Any]:
        """Press Generate."""
        inputs = [*self.names, *SETTINGS._replace(**settings)]
        return self.handlers.press(self.session, prompt, example, until, *inputs)

    @property
    def status(self) -> str:
        """The line under the buttons."""
        return unescape(self.shown[self.tab.status])

    @property
    def results(self) -> list[Result]:
        """The results on both cards."""
        return [result for result in self.session.results if result]

    def ids(self) -> list[list[int]]:
        """The ids on both cards."""
        return [result.completion.ids.tolist() for result in self.results]


@pytest.fixture
def text(tiny_checkpoints: Path) -> Tab:
    return Tab("text", tiny_checkpoints)


@pytest.fixture
def music(tiny_checkpoints: Path) -> Tab:
    return Tab("music", tiny_checkpoints)


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


def begun(tab: Tab) -> Iterator[dict[Any, Any]]:
    """The work after a press, until both cards have some tokens."""
    running = tab.run()
    while not all(one.completion.new.numel() > 5 for one in tab.results) or len(tab.results) < 2:
        next(running)
    return running


def test_stopping_keeps_what_there_is_and_continue_goes_on_from_it(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    running = begun(text)
    assert 'class="cursor"' in text.shown[text.tab.cards[0].view]
    assert "Stopping" in unescape(text.ask()[text.tab.status])
    list(running)
    assert "Stopped." in text.status and 'class="cursor"' not in text.shown[text.tab.cards[0].view]
    there = text.ids()
    assert all(5 < len(ids) < 1900 for ids in there) and len(text.history) == 1
    text.shown |= text.handlers.go_on(0, text.session)
    running = begun(text)
    for _ in range(5):
        next(running)
    text.ask()
    list(running)
    a, b = text.ids()
    assert a[: len(there[0])] == there[0] and len(a) > len(there[0])
    assert b == there[1]  # one that was stopped does not go on by itself
    recipe = text.results[0].recipe
    assert len(recipe.lengths) == 2 and sum(recipe.lengths) == len(a) - 1
    again = Tab("text", text.handlers.library.directory)
    again.finish(again.handlers.open_word(again.session, text.shown[text.tab.address]))
    assert again.ids() == text.ids()


def test_stop_before_the_first_token_keeps_the_earlier_results(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    text.finish(text.ask())
    before = text.session.results
    reading = threading.Event()

    def waiting(*arguments: Any, **settings: Any) -> Iterator[Step]:
        reading.wait(20)
        yield from generate(*arguments, **settings)

    monkeypatch.setattr(streaming, "generate", waiting)
    text.shown |= text.ask(seed=1)
    running = text.run()
    assert "Reading the prompt" in unescape(next(running)[text.tab.status])
    text.ask()
    threading.Timer(0.2, reading.set).start()
    list(running)
    assert "Stopped." in text.status and len(text.history) == 1
    if text.session.results is before:  # else a first token was quicker than the stop
        assert text.shown[text.tab.cards[0].go_on]["interactive"]


def test_a_press_while_waiting_for_a_turn_takes_it_back(text: Tab) -> None:
    assert text.ask()[text.tab.generate]["value"] == "Stop"
    changes = text.ask()
    assert "Stopped." in changes[text.tab.status] and changes[text.tab.generate]["value"] == "Generate"
    assert list(text.run()) == [{text.tab.status: gr.skip()}] and not text.results


def test_a_new_wish_ends_the_work_before_it(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    running = begun(text)
    inputs = [*text.names, *SETTINGS._replace(seed=7)]
    text.handlers.generate(text.session, "b", "", 0, *inputs)
    list(running)
    assert all(one.completion.written < 1900 for one in text.results)
    list(text.run())
    assert [one.plan.sampling.seed for one in text.results] == [7, 7]
    assert all(one.completion.done for one in text.results)


def test_a_visitor_who_leaves_ends_the_work(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    threads = threading.active_count()
    running = begun(text)
    assert text.session.running and threading.active_count() > threads
    running.close()  # type: ignore[attr-defined]
    assert not text.session.running and threading.active_count() == threads
    assert all(not one.completion.ongoing for one in text.results)


def test_an_error_while_writing_leaves_what_there_is(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (InputError("the model is damaged"), MemoryError()):

        def failing(*arguments: Any, error: Exception = error, **settings: Any) -> Iterator[Step]:
            yield from itertools.islice(generate(*arguments, **settings), 20)
            time.sleep(0.5)
            raise error

        monkeypatch.setattr(streaming, "generate", failing)
        text.shown |= text.ask()
        if isinstance(error, InputError):
            list(text.run())
            assert "the model is damaged" in text.status
        else:
            with pytest.raises(MemoryError):
                list(text.run())
            assert "Something went wrong" in text.status
            assert "Something went wrong" in text.handlers.failed(text.session)[text.tab.status]
        assert "wrong" in text.status and not text.session.running
        assert 0 < text.results[0].completion.written <= 20
        assert 'class="cursor"' not in text.shown[text.tab.cards[0].view]
        assert text.shown[text.tab.cards[0].go_on]["interactive"]


@pytest.mark.parametrize("writer", ["waveletgpt.common.files._flush", "zipfile.ZipFile.write"])
def test_a_full_disk_is_said_and_the_results_can_be_read(
    writer: str, text: Tab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/secret")

    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        assert "the server cannot write the files of the result" in text.finish(text.ask())
    assert "a result was not written" in caplog.text and not text.session.running
    assert len(text.results) == 2 and text.shown[text.tab.cards[0].go_on]["interactive"]
    assert not any(text.shown[button]["value"] for card in text.tab.cards for button in card.downloads.values())
    assert "Done in" in text.finish(text.ask())


def test_position_in_the_queue_is_shown_and_stop_leaves_it(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "LINE_EVERY", 0.0)
    scheduler = text.handlers.visitors.scheduler
    ahead = [scheduler.enter("text", str(number), [4000, 4000]) for number in range(AT_WORK + 1)]
    text.shown |= text.ask()
    running = text.run()
    next(running)
    assert "2nd in line for text, about" in text.status
    ahead.pop().leave()
    next(running)
    assert "1st in line for text, about" in text.status
    assert "Stopping" in unescape(text.ask()[text.tab.status])
    list(running)
    assert "Stopped." in text.status and not text.results and len(scheduler.lines["text"]) == AT_WORK
    text.shown |= text.ask()
    running = text.run()
    next(running)
    ahead.pop().leave()
    list(running)
    assert "Done in" in text.status and len(scheduler.lines["text"]) == AT_WORK - 1


def test_a_full_queue_is_said_and_leaves_what_there_is(text: Tab) -> None:
    text.finish(text.ask())
    before, scheduler = text.session.results, text.handlers.visitors.scheduler
    scheduler.places = 1
    with scheduler.enter("text", "somebody", [1]):
        told = text.finish(text.ask(seed=1))
    assert "the queue for text is full, with 1 in it; try again in about" in told and "wrong" in told
    assert text.session.results is before
    assert "Done in" in text.finish(text.ask(seed=1))


@pytest.mark.parametrize("name", MODALITIES)
def test_continue_undo_and_opening_the_whole_again(tiny_checkpoints: Path, name: str) -> None:
    tab = Tab(name, tiny_checkpoints)
    settings = {"text": {}, "audio": SECONDS, "music": NOTES}[name]
    tab.finish(tab.ask(None, **settings))
    whole = tab.ids()
    assert "Done" in tab.finish(tab.handlers.go_on(1, tab.session))
    a, b = tab.ids()
    assert a == whole[0] and b[: len(whole[1])] == whole[1] and len(b) == 2 * len(whole[1])
    assert tab.shown[tab.tab.cards[1].undo]["interactive"] and len(tab.history) == 2
    again = Tab(name, tiny_checkpoints)
    assert "Done" in again.finish(again.handlers.open_made(again.session, tab.history, 0))
    assert again.ids() == [a, b]
    version = tab.session.version
    *_, scored = tab.handlers.undo(1, tab.session)
    assert tab.ids() == whole and tab.session.version > version
    assert "to predict than" in unescape(scored[tab.tab.losses])
    (nothing,) = tab.handlers.undo(1, tab.session)
    assert "nothing to undo" in nothing[tab.tab.status]


def test_both_go_on_from_one_card(text: Tab) -> None:
    text.finish(text.ask(seed=3))
    first = text.session.results
    a, b = text.ids()
    text.finish(text.handlers.branch(1, text.session, *text.names, *SETTINGS))
    for result in text.results:
        assert result.completion.ids[: result.completion.prompt_length].tolist() == b
        assert result.completion.written == 61 and result.plan.sampling.seed == 3
    assert text.results[0].before is first[0] and text.results[1].before is first[1]
    list(text.handlers.undo(0, text.session))
    assert text.ids()[0] == a
    assert "keep is 1 characters" in text.finish(
        text.handlers.branch(1, text.session, *text.names, *SETTINGS._replace(keep=1))
    )


def test_without_a_result_nothing_goes_on(text: Tab) -> None:
    told = text.finish(text.handlers.go_on(0, text.session))
    assert "there is no result on this card yet" in told
    assert told == text.finish(text.handlers.branch(0, text.session, *text.names, *SETTINGS))


def test_variations_are_chosen_and_have_names_and_recipes_of_their_own(text: Tab) -> None:
    text.finish(text.ask(variations=3))
    card = text.tab.cards[0]
    assert text.shown[card.variation]["choices"] == ["1", "2", "3"] and text.shown[card.variation]["visible"]
    names, recipes = [], []
    for number in "123":
        shown, *_, scored = text.handlers.choose(0, text.session, number)
        names.append(Path(shown[card.downloads[".txt"]]["value"]).name)
        recipes.append(text.results[0].recipe)
        assert "to predict than" in unescape(scored[text.tab.losses])
        assert ("A and B" in shown[text.tab.agreement]) == (number == "1")  # B shows its first variation
    assert len(set(names)) == 3 and "variation3" in names[2] and "variation" not in names[0]
    assert [recipe.variation for recipe in recipes] == [0, 1, 2]


def test_a_variation_may_be_chosen_before_the_last_files_are_there(text: Tab) -> None:
    """It is shown once they are: the page shows in this order what is sent in this order."""
    text.shown |= text.ask(variations=2)
    running = text.run()
    while "Done" not in text.status:
        next(running)
    choosing = threading.Thread(target=lambda: list(text.handlers.choose(1, text.session, "2")))
    choosing.start()
    choosing.join(0.3)
    assert choosing.is_alive() and text.results[1].chosen == 0
    assert not list(running)
    choosing.join(60)
    assert text.results[1].chosen == 1


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


@pytest.mark.slow
def test_a_result_is_opened_from_its_file(music: Tab, tmp_path: Path) -> None:
    music.finish(music.ask(None, **NOTES))
    for suffix, path in music.results[1].write(music.handlers.modality, tmp_path / "files").items():
        again = Tab("music", music.handlers.library.directory)
        assert "Done" in again.finish(again.handlers.open_file(again.session, {"path": str(path)})), suffix
        assert again.ids() == music.ids()[1:] and again.session.results[1] is None
    other = Tab("audio", music.handlers.library.directory)
    told = other.finish(other.handlers.open_file(other.session, {"path": str(path)}))
    assert "this is a recipe for music, not for audio" in told


def test_an_address_opens_its_results_in_its_tab(text: Tab, music: Tab) -> None:
    text.finish(text.ask())
    word = text.shown[text.tab.address]
    for tab, ids in ((Tab("text", text.handlers.library.directory), text.ids()), (music, [])):
        request: Any = SimpleNamespace(query_params={"recipe": word})
        tab.finish(tab.handlers.arrive(tab.session, request))
        assert tab.ids() == ids
    damaged: Any = SimpleNamespace(query_params={"recipe": "damaged"})
    for name, told in (("text", True), ("music", False)):
        tab = Tab(name, text.handlers.library.directory)
        assert ("the recipe is damaged" in tab.finish(tab.handlers.arrive(tab.session, damaged))) == told


def test_an_example_is_known_by_its_name_and_one_that_changed_is_refused(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = Tab("music", tiny_checkpoints)
    example = tab.handlers.modality.examples()[0]
    ((path, name, _),) = tab.handlers.take_example(0)
    assert Path(path).suffix == ".mid" and name == example.name
    tab.finish(tab.ask({"path": path}, name, **NOTES))
    recipe, word = tab.results[0].recipe, tab.shown[tab.tab.address]
    assert (recipe.example, recipe.ids, recipe.title) == (example.name, "", example.title)
    again = Tab("music", tiny_checkpoints)
    again.finish(again.handlers.open_word(again.session, word))
    assert again.ids() == tab.ids()
    ids = tab.handlers.modality.example_ids
    monkeypatch.setattr(tab.handlers.modality, "example_ids", lambda *given: ids(*given).flip(0))
    told = again.finish(again.handlers.open_word(again.session, word))
    assert f"the example {example.name} has changed since" in told and again.ids() == tab.ids()


def test_the_history_survives_whatever_the_browser_kept(text: Tab) -> None:
    text.history = [5, {"word": "x"}, {"word": 1, "title": "a", "modality": "text"}, {"modality": "text"}]
    text.finish(text.ask())
    assert len(text.history) == 1 and text.history[0]["time"] > 1e9
    assert text.handlers.listed(text.history).constructor_args["samples"] == [[text.history[0]["title"]]]
    assert text.handlers.listed("nonsense").visible == "hidden"
    text.finish(text.ask())
    assert len(text.history) == 1  # the same result is there once
    gone = text.handlers.open_made(text.session, text.history, 3)
    assert "no longer in the history" in gone[text.tab.status]


def test_checkpoints_that_appear_later_can_be_chosen(tiny_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoints / "text-baseline", tmp_path / "first")
    tab = Tab("text", tmp_path, ("first", "second"))
    assert "there is no text checkpoint 'second'; choose first" in tab.finish(tab.ask())
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "second")
    assert tab.handlers.choices("first") == gr.update(choices=["first", "second"], value="first")
    assert "haar" in tab.handlers.chosen("second") and "No checkpoint" in tab.handlers.chosen(None)
    assert "Done" in tab.finish(tab.ask())


def test_a_press_replaces_what_a_tab_opens_with(text: Tab) -> None:
    text.handlers.arrive(text.session, None)  # type: ignore[arg-type]
    assert "Done" in text.finish(text.ask())


def test_a_tab_opens_with_a_finished_pair(
    tiny_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openings, "FOLDER", tmp_path)
    modality, entries = load_modality("text"), Library(tiny_checkpoints, "text").entries()
    assert opening(modality, entries) == [None, None]
    tab = Tab("text", tiny_checkpoints)
    assert modality.prompt.hint in tab.finish(tab.handlers.arrive(tab.session, None))  # type: ignore[arg-type]
    pair = [load_named(modality, entries, name) for name in tab.names]
    prompt = Prompt(pair[0].tokenizer.encode("Hello"), title="Hello")
    *_, made = grow([new_result(modality, one, prompt, 40, Sampling(seed=2)) for one in pair])
    write_opening(made)
    monkeypatch.setattr(streaming, "generate", None)  # nothing is generated
    tab = Tab("text", tiny_checkpoints)
    assert modality.prompt.hint in tab.finish(tab.handlers.arrive(tab.session, None))  # type: ignore[arg-type]
    for one, result in zip(made, tab.results, strict=True):
        assert one and one.completion.ids.equal(result.completion.ids) and one.recipe == result.recipe
        assert result.completion.nats == pytest.approx(one.completion.nats)
    assert tab.history == [] and tab.shown[tab.tab.cards[0].downloads[".txt"]]["interactive"]
    assert opening(modality, {"text-haar": entries["text-haar"]}) == [None, None]


def test_the_engine_is_made_ready_once_and_waited_for(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ready = [], []

    def slowly() -> None:
        begun.append(1)
        time.sleep(0.2)
        ready.append(1)

    monkeypatch.setattr(streaming, "warm_up", slowly)
    streaming._warm_up.cache_clear()
    text.ask()
    running = text.run()
    assert "Preparing the engine" in next(running)[text.tab.status] and begun == []
    threads = [threading.Thread(target=streaming.make_ready) for _ in range(3)]
    for thread in threads:
        thread.start()
    streaming.make_ready()
    assert ready == [1]
    for thread in threads:
        thread.join()
    list(running)
    assert "Done" in text.status and begun == [1]


def test_settings_that_rule_nothing_out_are_not_passed_on() -> None:
    sampling = SETTINGS.sampling()
    assert (sampling.top_k, sampling.top_p, sampling.min_p) == (None, None, None)


def test_a_tab_without_checkpoints_says_how_to_train_one(tmp_path: Path) -> None:
    page = build_page(tmp_path)
    told = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]
    for name in MODALITIES:
        assert any(f"There is no {name} checkpoint" in line and f"train_{name}.py" in line for line in told)


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a directory"):
        build_page(tmp_path / "nowhere")


def test_a_port_that_is_taken_is_said_in_one_line(page_url: str, tiny_checkpoints: Path) -> None:
    port = int(page_url.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken or not allowed; choose another"):
        open_page(tiny_checkpoints, "127.0.0.1", port, block=False)
