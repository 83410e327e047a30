"""Surprise marks results, and a place in one shows what else the models might have written there."""

import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tab import Tab

from waveletgpt.app.drawing.heat import in_levels
from waveletgpt.app.recipe import from_word, to_word
from waveletgpt.app.results import grow, remade
from waveletgpt.app.scoring import cross_score, with_scores
from waveletgpt.app.web.looking import Looking
from waveletgpt.app.web.surprise import SHORTEST


def do(tab: Tab, steps: Any) -> None:
    for changes in steps:
        tab.shown |= changes


def made(name: str, directory: Path) -> tuple[Tab, Looking]:
    """A tab with marked results on both cards."""
    tab = Tab(name, directory)
    looking = Looking(tab.handlers)
    settings = {"text": {}, "audio": {"length": 0.1, "keep": 1}, "music": {"length": 20, "keep": 100}}[name]
    assert "Done" in tab.finish(tab.ask(prompt="a" if name == "text" else None, **settings))
    do(tab, tab.handlers.score(tab.session))
    do(tab, looking.mark(tab.session, "own"))
    return tab, looking


def view(tab: Tab, card: int) -> str:
    return str(tab.shown[tab.tab.cards[card].view])


def at(value: Any) -> Any:
    return SimpleNamespace(value=value)


@pytest.fixture
def text(tiny_checkpoints: Path) -> tuple[Tab, Looking]:
    return made("text", tiny_checkpoints)


def marked_characters(html: str) -> list[tuple[int, str]]:
    """The level and the text of each marked run."""
    return [(int(level), unescape(run)) for level, run in re.findall(r'<span class="s(\d)">(.*?)</span>', html, re.S)]


def test_characters_are_marked_by_their_own_model_or_the_other(text: tuple[Tab, Looking]) -> None:
    tab, looking = text
    for mode, surprises in (
        ("own", [one.completion.surprise for one in tab.results]),
        ("other", [one.by_other for one in tab.session.scored if one]),
    ):
        do(tab, looking.mark(tab.session, mode))
        for card, (result, surprise) in enumerate(zip(tab.results, surprises, strict=True)):
            assert surprise is not None
            levels, written = in_levels(surprise), result.loaded.tokenizer.decode(result.completion.new)
            expected = "".join(character for character, level in zip(written, levels, strict=True) if level)
            runs = marked_characters(view(tab, card))
            assert "".join(run for _, run in runs) == expected
            assert sum(level * len(run) for level, run in runs) == levels.sum() > 0
    do(tab, looking.mark(tab.session, ""))
    assert "tinted" not in view(tab, 0) and not marked_characters(view(tab, 0))
    assert tab.shown[tab.tab.looking.plot] == tab.shown[tab.tab.looking.choices] == ""


def test_running_bits_have_a_line_for_each_model_and_text(text: tuple[Tab, Looking]) -> None:
    tab, _ = text
    assert re.findall(r">(. by .)</b>", tab.shown[tab.tab.looking.plot]) == ["A by A", "B by B", "A by B", "B by A"]


def test_both_models_bits_grow_while_they_write(text: tuple[Tab, Looking], monkeypatch: pytest.MonkeyPatch) -> None:
    tab, _ = text
    monkeypatch.setattr(tab.handlers.modality, "refresh", 0.0)
    monkeypatch.setattr("waveletgpt.app.web.handlers.SCORING", 0.0)
    tab.shown |= tab.ask(seed=3, length=360)
    lengths = []
    for changes in tab.run():
        if any(one.completion.ongoing for one in tab.results) and tab.tab.looking.plot in changes:
            scored = [one for one in with_scores(tab.session.results, tab.session.scored) if one]
            if all(one.by_other is not None and len(one.by_other) >= SHORTEST for one in scored):
                names = re.findall(r">(. by .)</b>", changes[tab.tab.looking.plot])
                assert names == ["A by A", "B by B", "A by B", "B by A"]
                assert [len(one.by_other) for one in scored] == [one.completion.written for one in scored]  # type: ignore[arg-type]
                lengths.append(len(scored[0].by_other))  # type: ignore[arg-type]
        if len(lengths) == 2:
            tab.session.stop()
    assert lengths == sorted(set(lengths)) and len(lengths) >= 2
    do(tab, tab.handlers.after(tab.session))
    *_, whole = cross_score(list(tab.session.results))
    for one, known in zip(whole, tab.session.scored, strict=True):
        assert one and known and one.by_other is not None and known.by_other is not None
        torch.testing.assert_close(known.by_other, one.by_other, rtol=0, atol=1e-4)


def test_no_model_scores_the_other_while_they_write_unless_asked(text: tuple[Tab, Looking]) -> None:
    tab, looking = text
    do(tab, looking.mark(tab.session, ""))
    known = tab.session.scored
    tab.finish(tab.ask(seed=4))
    assert tab.session.scored is known


def test_a_place_shows_the_likeliest_tokens_under_both_models(text: tuple[Tab, Looking]) -> None:
    tab, looking = text
    scored = [one for one in tab.session.scored if one]
    for card, result in enumerate(scored):
        assert result.by_other is not None
        own, other = (float((-nats[7]).exp()) for nats in (result.completion.surprise, result.by_other))
        do(tab, looking.look(tab.session, at({"card": card, "token": 7})))
        html = tab.shown[tab.tab.looking.choices]
        rows = re.findall(r"<tr.*?</tr>", html)[1:]
        (written,) = (row for row in rows if "is there" in row)
        assert len(rows) in {10, 11} and len(re.findall("data-id", html)) == len(rows) - 1
        shown = [float(part) / 100 for part in re.findall(r"--part:([\d.]+)%", written)]
        assert shown == pytest.approx([own, other][:: -1 if card else 1], abs=0.001)
        assert 'data-role="earlier"' in html and 'data-role="later"' in html


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"card": 2, "token": 0},
        {"card": "0"},
        {"card": 0},
        {"card": 0, "token": -1},
        {"card": 0, "token": 9**9},
    ],
)
def test_a_place_that_is_not_there_is_one_line(text: tuple[Tab, Looking], value: Any) -> None:
    tab, looking = text
    do(tab, looking.look(tab.session, at(value)))
    assert 'role="alert"' in tab.shown[tab.tab.looking.choices]
    looking.choose(tab.session, at(value))
    before = tab.ids()
    assert "Done" not in tab.finish(looking.branch(tab.session)) and tab.ids() == before


def test_a_card_goes_on_from_another_token_and_undo_returns(text: tuple[Tab, Looking]) -> None:
    tab, looking = text
    before, other = tab.ids()
    looking.choose(tab.session, at({"card": 0, "token": 5, "id": 3}))
    assert "Done" in tab.finish(looking.branch(tab.session))
    result, kept = tab.results[0], tab.results[0].completion.prompt_length
    assert tab.ids()[0][:kept] == [*before[: kept - 1], 3] and kept == 1 + 5 + 1 and tab.ids()[1] == other
    assert result.completion.written == len(before) - 1
    (recipe,) = from_word(to_word([result.recipe]))
    assert recipe
    *_, (again,) = grow([remade(tab.handlers.modality, tab.handlers.library.entries(), recipe)])
    assert again and again.completion.ids.equal(result.completion.ids)
    do(tab, tab.handlers.undo(0, tab.session))
    assert tab.ids() == [before, other]


def test_a_token_that_is_none_is_refused(text: tuple[Tab, Looking]) -> None:
    tab, looking = text
    looking.choose(tab.session, at({"card": 0, "token": 5, "id": 10**6}))
    assert "choose one of the alternatives" in tab.finish(looking.branch(tab.session))


def test_sound_has_a_band_and_is_looked_at_by_time(tiny_checkpoints: Path) -> None:
    tab, looking = made("audio", tiny_checkpoints)
    assert 'class="panel heat"' in view(tab, 0) and "tinted" in view(tab, 0)
    do(tab, looking.look(tab.session, at({"card": 1, "seconds": 0.05})))
    rate = tab.results[1].loaded.tokenizer.sample_rate
    assert f"new sample {0.05 * rate + 1:,.0f} of" in tab.shown[tab.tab.looking.choices]


def test_notes_are_marked_by_the_events_that_strike_them(tiny_checkpoints: Path) -> None:
    tab, looking = made("music", tiny_checkpoints)
    result = tab.results[0]
    tokenizer, ids = result.loaded.tokenizer, result.completion.ids
    tokens = [int(token) for token in re.findall(r'data-token="(\d+)"', view(tab, 0))]
    assert tokens == (tokenizer.strikes(ids) - result.completion.prompt_length).tolist() and tokens
    do(tab, looking.look(tab.session, at({"card": 0, "token": tokens[0]})))
    label = re.search(r'class="written"><th scope="row">(.*?)</th>', tab.shown[tab.tab.looking.choices])
    assert label and label[1] == tokenizer.event(int(result.completion.new[tokens[0]])) and label[1].endswith(" down")
    assert torch.equal(result.completion.new, ids[result.completion.prompt_length :])
