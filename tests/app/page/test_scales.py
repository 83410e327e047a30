"""Time scales are shown for a card, and can be muted."""

import re
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
from gradio.context import LocalContext
from tab import Tab

from waveletgpt.app.instruments.scales import even_columns, scalogram
from waveletgpt.app.recipe import from_word, to_word
from waveletgpt.app.results import grow, remade
from waveletgpt.app.web.scales import EVERYWHERE, HERE, Scales


def do(tab: Tab, steps: Any) -> None:
    for changes in steps:
        tab.shown |= changes


def made(name: str, directory: Path) -> tuple[Tab, Scales]:
    """A tab with results on both cards, that on B from a wavelet."""
    tab = Tab(name, directory)
    settings = {"text": {}, "audio": {"length": 0.1, "keep": 1}, "music": {"length": 20, "keep": 100}}[name]
    assert "Done" in tab.finish(tab.ask(prompt="a" if name == "text" else None, **settings))
    return tab, Scales(tab.handlers)


@pytest.mark.parametrize("name", ["text", "audio", "music"])
def test_a_wavelet_shows_its_levels_and_a_baseline_says_that_it_has_none(name: str, tiny_checkpoints: Path) -> None:
    tab, scales = made(name, tiny_checkpoints)
    parts = tab.tab.scales
    do(tab, scales.choose(tab.session, 1))
    levels = [label for label, _ in tab.shown[parts.levels]["choices"]]
    shown = re.findall(r'<span class="up"[^>]*>([\d,]+)</span>', tab.shown[parts.view])
    assert shown == levels and "data:image/png" in tab.shown[parts.view] and 'data-card="b"' in tab.shown[parts.view]
    do(tab, scales.layer(tab.session, 5))
    assert "Layer 1 of 1:" in tab.shown[parts.view]  # there is no other
    do(tab, scales.choose(tab.session, 0))
    assert "has no time scales" in tab.shown[parts.view] and tab.shown[parts.mute]["visible"] == "hidden"
    do(tab, scales.choose(tab.session, None))
    assert tab.shown[parts.view] == ""


def test_scales_wait_until_the_browser_listens(tiny_checkpoints: Path) -> None:
    tab, scales = made("text", tiny_checkpoints)
    call = LocalContext.event_id.set("call")
    opens = Timer(1, tab.handlers.visitors.opened, ["call"], {"answer": True})
    opens.start()
    do(tab, scales.choose(tab.session, 1))
    LocalContext.event_id.reset(call)
    opens.join()
    assert "data:image/png" in tab.shown[tab.tab.scales.view]


def test_a_scalogram_tells_how_far_a_level_is_from_its_mean(tiny_checkpoints: Path) -> None:
    tab, _ = made("text", tiny_checkpoints)
    model = tab.results[1].task.model
    ids = torch.randint(model.config.vocab_size, (model.config.block_size,))
    given: list[torch.Tensor] = []
    hook = model.mixers[0].register_forward_hook(lambda _m, _i, out: given.append(out[0].detach()))
    model(ids[None])
    hook.remove()
    *_, found = scalogram(model, ids, even_columns(len(ids)))
    assert found
    wavelet = model.mixers[0]
    out = given[0][:, -wavelet.width :]
    level = found.levels[0]
    expected = (out - out.mean(0))[:, wavelet.levels == level].square().mean(1).sqrt()
    torch.testing.assert_close(torch.tensor(found.values[0, 0]), expected, rtol=1e-3, atol=1e-5)


def test_a_prompt_can_be_shown_before_anything_is_made_of_it(tiny_checkpoints: Path, midi_file: Path) -> None:
    for name, prompt in (("text", "Hello there"), ("music", str(midi_file))):
        tab = Tab(name, tiny_checkpoints)
        scales, parts = Scales(tab.handlers), tab.tab.scales
        do(tab, scales.choose(tab.session, 2, prompt, "", 0, 100, *tab.names))
        assert 'data-card="prompt"' in tab.shown[parts.view] and tab.shown[parts.mute]["visible"] == "hidden"
        for given, told in ((None, "there is no prompt"), ("a.xyz", "give a MIDI file" if name == "music" else "")):
            do(tab, scales.choose(tab.session, 2, given, "", 0, 100, *tab.names))
            assert told in tab.shown[parts.view]
        do(tab, scales.choose(tab.session, 2, prompt, "", 0, 100, tab.names[0], None))
        assert "no card has a wavelet" in tab.shown[parts.view]


def test_columns_without_a_token_are_like_the_one_before(tiny_checkpoints: Path) -> None:
    tab, _ = made("text", tiny_checkpoints)
    ids, columns = torch.arange(4), torch.tensor([-1, 0, 0, 3])
    *_, found = scalogram(tab.results[1].task.model, ids, columns)
    assert found and found.values.shape[-1] == 4
    assert (found.values[..., 1] == found.values[..., 0]).all() and (found.values[..., 2] == found.values[..., 0]).all()


def test_muted_scales_are_made_again_beside_the_whole(tiny_checkpoints: Path) -> None:
    tab, scales = made("text", tiny_checkpoints)
    first, second = tab.results
    do(tab, scales.choose(tab.session, 1))
    assert "choose what to mute" in tab.finish(scales.mute(tab.session, [], EVERYWHERE))
    level = tab.shown[tab.tab.scales.levels]["choices"][-1][1]
    assert "Done" in tab.finish(scales.mute(tab.session, [level], EVERYWHERE))
    whole, muted = tab.results
    assert whole.completion.ids.equal(second.completion.ids) and whole.name == muted.name == second.name
    assert not muted.completion.surprise.equal(whole.completion.surprise)  # this tiny one hardly changes its mind
    assert muted.completion.written == whole.completion.written and muted.plan.sampling == whole.plan.sampling
    assert f"muted: {2**level:,}" in tab.shown[tab.tab.cards[1].about]
    (recipe,) = from_word(to_word([muted.recipe]))
    assert recipe and recipe.mute == str(level)
    *_, (again,) = grow([remade(tab.handlers.modality, tab.handlers.library.entries(), recipe)])
    assert again and again.completion.ids.equal(muted.completion.ids)
    do(tab, scales.follow(tab.session))
    row = tab.session.scalogram
    assert row and (row[1].values[:, -1] == 0).all()
    assert "Done" in tab.finish(scales.mute(tab.session, [level], HERE))
    assert tab.ids()[0] == whole.completion.ids.tolist() and tab.results[1].plan.mute == f"1:{level}"
    for card, before in ((0, first), (1, muted)):
        do(tab, tab.handlers.undo(card, tab.session))
        assert tab.results[card].recipe == before.recipe and tab.results[card].completion.ids.equal(
            before.completion.ids
        )
