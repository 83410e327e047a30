"""Results that are opened again: from files, addresses and the history."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tab import NOTES, Tab


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
