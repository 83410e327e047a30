"""The blind test: what reaches the page before the vote and after it, and which votes count."""

import itertools
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from waveletgpt.app import streaming
from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.recipe import FOUND, from_word
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.tabs import trial, which
from waveletgpt.app.tabs.trial import Trial
from waveletgpt.app.tabs.which import Which, build_which, tally_of
from waveletgpt.app.votes import Tally, read_votes
from waveletgpt.common.errors import DiskFullError
from waveletgpt.common.modalities import MODALITIES

SMALL = {"text": 10.0, "audio": 0.1, "music": 20.0}


class Tab:
    """The tab without a browser, and a visitor."""

    def __init__(self, directory: Path, votes: Path) -> None:
        libraries = {name: Library(directory, name) for name in MODALITIES}
        built: list[Which] = []
        original = which.Which.__init__

        def noticed(handlers: Which, *arguments: Any) -> None:
            original(handlers, *arguments)
            built.append(handlers)

        with pytest.MonkeyPatch.context() as patch, gr.Blocks(), gr.Tabs(), gr.Tab("Which?") as item:
            patch.setattr(which.Which, "__init__", noticed)
            build_which(item, libraries, {name: load_modality(name) for name in MODALITIES}, Visitors(), votes)
        (self.handlers,) = built
        self.tab, self.trial, self.votes = self.handlers.tab, Trial(), votes
        self.shown: dict[Any, Any] = {}
        self.files: dict[str, bytes] = {}

    def press(self, kind: str = "text", *names: Any) -> Iterator[dict[Any, Any]]:
        yield from self.seen(self.handlers.press(self.trial, kind, *(names or (f"{kind}-baseline", f"{kind}-haar"))))

    def vote(self, side: Any, pair: Any = None, seconds: Any = (2, 3.14)) -> str:
        number = self.shown[self.tab.ballot]["pair"] if pair is None else pair
        given = {"pair": number, "side": side, "seconds": [*seconds]}
        list(self.seen(self.handlers.vote(self.trial, SimpleNamespace(value=given))))  # type: ignore[arg-type]
        return unescape(self.shown[self.tab.status])

    def seen(self, changes: Iterator[dict[Any, Any]]) -> Iterator[dict[Any, Any]]:
        for one in changes:
            self.shown |= one
            for card in (one.get(self.tab.transport) or {}).get("cards", []):
                if card:
                    self.files[card["file"]["path"]] = Path(card["file"]["path"]).read_bytes()
            yield one


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SHORT", SMALL)
    streaming.make_ready()


@pytest.fixture
def tab(tiny_checkpoints: Path, tmp_path: Path) -> Tab:
    return Tab(tiny_checkpoints, tmp_path / "votes.csv")


@pytest.mark.parametrize("kind", MODALITIES)
def test_no_name_reaches_the_page_before_the_vote(tab: Tab, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [{key: value for key, value in one.items() if key is not tab.tab.trial} for one in tab.press(kind)]
    assert tab.trial.pair and tab.shown[tab.tab.ballot]["heard"] == (kind != "text")
    everything = f"{[[*one.values()] for one in sent]}".encode() + b"".join(tab.files.values())
    pair = tab.trial.pair
    for result in pair.results:
        for secret in (result.name, result.loaded.digest, "haar", "baseline", "wavelet", "recipe"):
            assert secret.encode() not in everything
    assert not FOUND.search(everything) and len(tab.files) == 2 * (kind != "text")
    assert 'class="shared">' not in everything.decode(errors="replace").replace('class="shared"></span>', "")
    assert "is kept" in tab.vote(1)
    names = tab.shown[tab.tab.names_view]
    first, second = (result.name for result in pair.sides)
    assert f"1 is {first} · <strong>your choice" in names and f"2 is {second}<" in names
    words = re.findall(r'href="\?recipe=([\w-]+)"', names)
    assert [recipe and recipe.checkpoint for word in words for recipe in from_word(word)] == [first, second]
    (vote,) = read_votes(tab.votes)
    assert (vote.preferred, vote.side_1, vote.seconds_1, vote.seconds_2) == (first, first, 2.0, 3.1)
    assert [one and one.checkpoint for one in from_word(vote.recipe)] == [f"{kind}-baseline", f"{kind}-haar"]


def test_sides_are_drawn_anew(tab: Tab) -> None:
    swapped = set()
    for _ in range(20):
        list(tab.press())
        assert tab.trial.pair
        swapped.add(tab.trial.pair.swapped)
        if len(swapped) == 2:
            return
    raise AssertionError("one in 2**19 runs fails by chance")


def test_only_one_vote_for_the_pair_that_is_shown(tab: Tab) -> None:
    assert "for another pair" in tab.vote(1, pair=1)
    list(tab.press())
    first = tab.shown[tab.tab.ballot]["pair"]
    for side, seconds in ((3, (1, 1)), ("1", (1, 1)), (1, (1,)), (1, (1, -1)), (1, (1, float("nan"))), (1, "ab")):
        assert "this is no vote" in tab.vote(side, seconds=seconds)
    assert tab.shown[tab.tab.ballot]["tries"] == 7  # each lets the page vote again
    list(tab.press())
    assert "for another pair" in tab.vote(1, pair=first)
    second = tab.shown[tab.tab.ballot]["pair"]
    assert "is kept" in tab.vote(0) and tab.shown[tab.tab.ballot] is None
    assert "you have voted on this pair" in tab.vote(2, pair=second)
    (vote,) = read_votes(tab.votes)
    assert vote.preferred == "" and "your choice" not in tab.shown[tab.tab.names_view]
    list(tab.handlers.vote(tab.trial, SimpleNamespace()))  # type: ignore[arg-type]
    list(tab.seen(tab.handlers.chosen(tab.trial, "music")))
    assert tab.trial.pair is None and "for another pair" in tab.vote(1, pair=second)


def test_what_must_be_heard_or_read(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    list(tab.press("text"))
    characters = round(10 * 5.53)
    assert tab.shown[tab.tab.ballot]["needs"] == [characters / 20] * 2
    monkeypatch.setattr(trial, "LONGEST_READ", 3)
    list(tab.press("text"))
    assert tab.shown[tab.tab.ballot]["needs"] == [1.5] * 2
    list(tab.press("audio"))
    ballot = tab.shown[tab.tab.ballot]
    assert ballot["needs"] == pytest.approx([0.06] * 2, abs=1e-3) and ballot["starts"] in ([0, 0], [0.1, 0.1])
    (name,) = {card["name"] for card in tab.shown[tab.tab.transport]["cards"][:1]}
    assert name == "1"


def test_a_vote_that_cannot_be_kept_can_be_cast_again(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    list(tab.press())

    def full(*_: Any) -> None:
        raise DiskFullError("/somewhere/secret")

    with monkeypatch.context() as patch:
        patch.setattr(which, "add_vote", full)
        told = tab.vote(1)
        assert "could not be written" in told and "secret" not in told and tab.shown[tab.tab.ballot]["tries"] == 1
    tab.votes.write_text("mine\n")
    told = tab.vote(1)
    assert "votes.csv is not a whole file of votes" in told and str(tab.votes.parent) not in told
    list(tab.seen(tab.handlers.count("text", "text-baseline", "text-haar")))
    assert "votes.csv is not a whole file of votes" in tab.shown[tab.tab.tally]
    assert tab.votes.read_text() == "mine\n" and not tab.shown[tab.tab.names_view]
    tab.votes.unlink()
    assert "is kept" in tab.vote(1) and "Of 1 vote with a preference" in tab.shown[tab.tab.tally]


def test_stopping_leaves_no_pair(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SHORT", {"text": 360})
    pressed = tab.press()
    next(pressed)
    assert tab.shown[tab.tab.press]["value"] == "Stop"
    assert "Stopping" in next(tab.press())[tab.tab.status]
    list(pressed)
    assert "Stopped" in tab.shown[tab.tab.status] and tab.trial.pair is None and not tab.trial.running
    list(tab.press())
    assert tab.trial.pair and tab.shown[tab.tab.press]["value"] == "New pair"


def test_what_cannot_be_compared_is_one_line(tab: Tab) -> None:
    for kind, names, told in (
        ("text", ("text-haar", "text-haar"), "these two checkpoints are the same"),
        ("text", ("text-haar", None), "there is no text checkpoint empty"),
        ("dance", ("a", "b"), "there is no kind of data 'dance'; choose one of text, audio, music"),
    ):
        list(tab.press(kind, *names))
        assert told in unescape(tab.shown[tab.tab.status]) and not tab.trial.running
    list(tab.seen(tab.handlers.count("text", None, ["x"])))
    assert tab.shown[tab.tab.tally] == ""


def test_the_tally_says_share_interval_chance_and_loss(tiny_checkpoints: Path) -> None:
    a, b = Library(tiny_checkpoints, "text").entries().values()
    told = re.sub("<[^>]+>", "", tally_of(Tally(5, 9, 3), load_modality("text"), a, b))
    assert told.startswith(
        "Of 14 votes with a preference, 9 (64 %, 95 % interval 39 to 84 %) prefer text-haar, where chance gives 50 %; "
        "no difference 3 times."
    )
    assert "The validation loss of text-haar is 0.000 bits per character" in told
    assert "Nobody has voted" in tally_of(Tally(0, 0, 0), load_modality("text"), a, b)
    assert "No vote with a preference yet; no difference 1 time." in tally_of(
        Tally(0, 0, 1), load_modality("text"), a, b
    )


def test_nothing_is_read_or_loaded_until_the_tab_is_opened(tiny_checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("damaged")
    tab = Tab(tiny_checkpoints, tmp_path / "votes.csv")
    assert not tab.shown and all(view.value in (None, "") for view in [*tab.tab.views, tab.tab.tally])
    assert list(itertools.islice(tab.handlers.count("text", "text-baseline", "text-haar"), 1))
