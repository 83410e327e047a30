"""Continue, undo, branch and variations."""

import threading
from html import unescape
from pathlib import Path

import pytest
from tab import NOTES, SECONDS, SETTINGS, Tab

from waveletgpt.common.modalities import MODALITIES


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=() if name == "text" else pytest.mark.slow) for name in MODALITIES)]
)
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
