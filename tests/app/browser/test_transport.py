"""The transport in a small page with two cards."""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Locator, Page, expect
from ports import unused_port
from tones import LOUD, RATE, SECONDS, SOFT, sounds, tone

from waveletgpt.app.drawing.figures import Notes, piano_roll_figure, roll_axes, sound_axes, sound_figure
from waveletgpt.app.web.style import CSS, THEME
from waveletgpt.app.web.transport import STATIC, Sound, card_view, transport, transport_value


def views(made: list[Sound]) -> list[str]:
    waves = [(sound.samples.numpy(), sound.sample_rate) for sound in made]
    axes = sound_axes(waves, SECONDS)
    drawn = [sound_figure(*wave, made[i].name, boundary=1.0, axes=axes) for i, wave in enumerate(waves)]
    return [card_view(card, view) for card, view in zip("ab", drawn, strict=True)]


def rolls() -> list[str]:
    """Piano rolls of two short pieces."""
    generator = np.random.default_rng(0)
    pieces = []
    for n in (60, 40):
        onset = np.sort(generator.uniform(0, 5, n))
        pieces.append(Notes(onset, generator.uniform(0.1, 1, n), generator.integers(40, 84, n), onset.astype(int) * 20))
    axes = roll_axes(pieces)
    return [
        card_view(card, piano_roll_figure(notes, "Piano roll", boundary=1.5, axes=axes))
        for card, notes in zip("ab", pieces, strict=True)
    ]


def demo(folder: Path) -> gr.Blocks:
    """Two tabs with cards and a transport each. Buttons let the sound of the first one grow, finish and go."""

    def show(made: list[Sound], version: int = 1) -> list[Any]:
        return [transport_value(made, version), *views(made)]

    with gr.Blocks(title="transport", analytics_enabled=False) as page, gr.Tabs():
        for name in ("first", "second"):
            with gr.Tab(name, elem_id=f"{name}-tab"):
                with gr.Row():
                    with gr.Column(min_width=290):
                        left = gr.HTML()
                    with gr.Column(min_width=290):
                        right = gr.HTML()
                player = transport(name)
                shown = [player, left, right]
                gr.Button("Grow").click(lambda: show(sounds(30.0)), None, shown)
                gr.Button("Longer").click(lambda: show(sounds(60.0)), None, shown)
                gr.Button("Finish").click(lambda: show(sounds(SECONDS, folder)), None, shown)
                gr.Button("Another").click(lambda: show(sounds(SECONDS, folder), 2), None, shown)
                gr.Button("Only B").click(lambda: transport_value([None, sounds(2.0)[1]], 3), None, player)
                gr.Button("Nothing").click(lambda: transport_value([None, None], 4), None, player)
                gr.Button("Rolls").click(rolls, None, [left, right])
                gr.Textbox(label="Words")
                gr.Audio(str(folder / "prompt.wav"), label="Prompt", elem_id=f"{name}-prompt")
                gr.HTML('<div style="height: 600px"></div>')
    return page


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sounds")
    sounds(SECONDS, folder)
    soundfile.write(folder / "prompt.wav", tone(0.5, 440, 10.0).numpy(), RATE)
    app = demo(folder)
    app.launch(
        server_port=unused_port(),
        theme=THEME,
        css=CSS,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[str(folder)],
        ssr_mode=False,
    )
    yield app.local_url
    app.close()


METER = """
const { connect } = AudioNode.prototype;  // what goes to the loudspeakers goes through a meter, too
AudioNode.prototype.connect = function (target, ...others) {
    if (target instanceof AudioDestinationNode) {
        window.meter ??= new AnalyserNode(target.context, { fftSize: 4096 });
        connect.call(this, window.meter);
    }
    return connect.call(this, target, ...others);
};
"""
RMS = """() => {
    const samples = new Float32Array(4096);
    window.meter.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / 4096);
}"""


@pytest.fixture
def page(new_page: Page, url: str) -> Page:
    new_page.add_init_script(METER)
    new_page.goto(url)
    expect(new_page.get_by_role("button", name="Grow")).to_be_visible()
    return new_page


def player(page: Page, name: str = "first") -> Locator:
    return page.locator(f"#{name}-transport .transport")


def show(page: Page, state: str) -> Locator:
    """Press a button of the demo; the transport that it fills, ready to play."""
    page.get_by_role("button", name=state, exact=True).click()
    expect(page.locator(".transport:visible button")).to_be_enabled()
    page.evaluate("document.activeElement.blur()")
    return player(page)


def position(one: Locator) -> float:
    return float(one.get_by_label("Position").input_value())


def playhead(page: Page, card: str) -> dict[str, Any]:
    """Where the playhead of a card is, as a part of its time axis, and its colour."""
    found: dict[str, Any] = page.locator(f".view[data-card={card}] .timeline >> visible=true").evaluate(
        """timeline => {
            const style = getComputedStyle(timeline, '::after');
            return { at: parseFloat(style.left) / timeline.clientWidth, colour: style.backgroundColor };
        }"""
    )
    return found


@pytest.mark.slow
def test_the_script_is_valid(page: Page) -> None:
    page.evaluate("code => { new Function('element', 'props', 'watch', code) }", (STATIC / "transport.js").read_text())


@pytest.mark.slow
def test_space_plays_and_pauses_and_never_scrolls(page: Page) -> None:
    one = show(page, "Finish")
    before = page.evaluate("scrollY")
    page.keyboard.press("Space")
    expect(one.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_timeout(500)
    page.keyboard.press("Space")
    expect(one.get_by_role("button", name="Play")).to_be_visible()
    assert 0.2 < position(one) < 60
    assert page.evaluate("scrollY") == before
    words = page.get_by_label("Words")
    words.fill("a")
    words.press("Space")
    assert words.input_value() == "a " and one.get_by_role("button", name="Play").is_visible()


def test_switching_keeps_the_position_and_both_are_equally_loud(page: Page) -> None:
    one = show(page, "Finish")
    page.keyboard.press("Space")
    page.wait_for_timeout(600)
    levels = [page.evaluate(RMS)]
    before, begun = position(one), time.monotonic()
    one.get_by_label("B: soft").check(force=True)
    assert position(one) - before == pytest.approx(time.monotonic() - begun, abs=0.15)
    page.wait_for_timeout(600)
    levels.append(page.evaluate(RMS))
    assert levels == [pytest.approx(SOFT / math.sqrt(2), rel=0.1)] * 2
    one.get_by_text("Loudness matched").click()
    one.get_by_label("A: loud").check(force=True)
    page.wait_for_timeout(600)
    assert page.evaluate(RMS) == pytest.approx(LOUD / math.sqrt(2), rel=0.1)
    expect(one.locator(".match")).to_have_attribute("title", re.compile(r"A .18\.1 dB, B 0\.0 dB"))


def test_a_click_on_a_view_selects_its_card_and_seeks(page: Page) -> None:
    one = show(page, "Finish")
    timeline = page.locator(".view[data-card=b] .timeline >> visible=true")
    box = timeline.bounding_box()
    assert box
    timeline.click(position={"x": 0.75 * box["width"], "y": 120})
    expect(one.get_by_label("B: soft")).to_be_checked()
    assert position(one) == pytest.approx(0.75 * SECONDS, abs=0.3)  # a pixel is 0.2 s
    a, b = playhead(page, "a"), playhead(page, "b")
    assert a["at"] == pytest.approx(0.75, abs=0.01) and b["at"] == pytest.approx(0.75, abs=0.01)
    assert a["colour"] != b["colour"]
    page.keyboard.press("Space")
    page.wait_for_timeout(500)
    page.keyboard.press("Space")
    assert position(one) > 0.75 * SECONDS + 0.3
    assert playhead(page, "a")["at"] == pytest.approx(position(one) / SECONDS, abs=0.002)


@pytest.mark.slow
def test_a_longer_sound_takes_over_while_it_plays(page: Page) -> None:
    one = show(page, "Grow")
    expect(one.locator(".time")).to_have_text("0:00.0 / 0:30.0 so far")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Longer").click()
    expect(one.locator(".time")).to_contain_text("/ 1:00.0 so far")
    assert position(one) > 0 and one.get_by_role("button", name="Pause").is_visible()
    assert playhead(page, "a")["at"] > 0  # in a view that was drawn anew
    page.get_by_role("button", name="Finish").click()
    expect(one.locator(".time")).to_contain_text("/ 1:30.0")
    expect(one.locator(".time")).not_to_contain_text("so far")
    seen = position(one)
    page.wait_for_timeout(300)
    assert position(one) > seen > 0.1
    assert page.evaluate(RMS) == pytest.approx(SOFT / math.sqrt(2), rel=0.1)
    one.get_by_label("Position").fill(str(SECONDS - 0.3))
    expect(one.get_by_role("button", name="Play")).to_be_visible()  # at the end
    assert position(one) == pytest.approx(SECONDS, abs=0.01)
    page.get_by_role("button", name="Another").click()  # another press of Generate
    expect(one.locator(".time")).to_contain_text("0:00.0 /")


@pytest.mark.slow
def test_playback_that_catches_up_waits_for_more(page: Page) -> None:
    one = show(page, "Grow")
    expect(one.locator(".time")).to_have_text("0:00.0 / 0:30.0 so far")
    one.get_by_label("Position").fill("29.7")
    page.keyboard.press("Space")
    expect(one.locator(".time")).to_have_text("0:30.0 / 0:30.0 so far")
    expect(one.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Longer").click()
    expect(one.locator(".time")).to_contain_text("/ 1:00.0 so far")
    expect(one.locator(".time")).not_to_contain_text("0:30.0 /")
    assert position(one) > 30
    one.get_by_role("button", name="Pause").click()
    expect(one.get_by_role("button", name="Play")).to_be_visible()


@pytest.mark.slow
def test_a_card_without_sound_cannot_be_chosen(page: Page) -> None:
    one = show(page, "Only B")
    expect(one.get_by_label("A: no sound")).to_be_disabled()
    expect(one.get_by_label("B: soft")).to_be_checked()
    expect(one.locator(".match")).to_be_hidden()
    page.get_by_role("button", name="Nothing").click()
    expect(one).to_be_hidden()


@pytest.mark.slow
def test_one_sound_at_a_time(page: Page) -> None:
    first = show(page, "Finish")
    page.keyboard.press("Space")
    expect(first.get_by_role("button", name="Pause")).to_be_visible()
    page.locator("#first-prompt").get_by_label("Play", exact=True).click()  # gradio's player
    expect(first.get_by_role("button", name="Play")).to_be_visible()
    first.get_by_role("button", name="Play").click()
    expect(page.locator("#first-prompt").get_by_label("Play", exact=True)).to_be_visible()
    page.get_by_role("tab", name="second").click()
    show(page, "Finish")
    page.keyboard.press("Space")  # of the tab that is visible
    expect(player(page, "second").get_by_role("button", name="Pause")).to_be_visible()
    expect(player(page).locator("button")).to_have_attribute("aria-label", "Play")


def test_everything_works_by_keyboard(page: Page) -> None:
    one = show(page, "Finish")
    one.get_by_role("button", name="Play").focus()
    page.keyboard.press("Enter")
    expect(one.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("b")
    expect(one.get_by_label("B: soft")).to_be_checked()
    page.keyboard.press("1")
    expect(one.get_by_label("A: loud")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(one.get_by_label("B: soft")).to_be_checked()
    assert one.locator(".choice span").nth(1).evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Space")  # not a button
    expect(one.get_by_role("button", name="Play")).to_be_visible()
    page.keyboard.press("Tab")
    expect(one.get_by_label("Position")).to_be_focused()
    page.keyboard.press("End")
    assert position(one) == SECONDS
    page.keyboard.press("Home")
    assert position(one) == 0
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(one.get_by_label("Loudness matched")).not_to_be_checked()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_touch_targets_and_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    one = show(page, "Finish")
    for target in (one.locator("button"), *one.locator("label").all(), one.get_by_label("Position")):
        box = target.bounding_box()
        assert box and box["height"] >= 44 and box["width"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for label in page.locator(".figure span >> visible=true").all():
        assert label.evaluate("node => parseFloat(getComputedStyle(node).fontSize)") >= 11
