"""Looking closer at a result in a browser: marks, alternatives, and going on from one."""

import pytest
from playwright.sync_api import Page, expect
from visit import generate, opened

LABELS = "buttons => buttons.map((button) => button.ariaLabel)"


def test_a_character_shows_alternatives_and_goes_on_from_one(page: Page) -> None:
    panel = opened(page, "text")
    panel.get_by_label("Prompt", exact=True).fill("Hello")
    generate(panel, "30")
    panel.get_by_role("button", name="Surprise").click()
    panel.get_by_label("By its own model").check()
    expect(panel.locator(".running .chart")).to_be_visible()
    written = panel.locator("#text-b .sheet .new")
    place = written.evaluate(
        """written => {
            const walker = document.createTreeWalker(written, NodeFilter.SHOW_TEXT), range = document.createRange();
            let left = 20, node = walker.nextNode();
            while (left >= node.data.length) { left -= node.data.length; node = walker.nextNode(); }
            range.setStart(node, left); range.setEnd(node, left + 1);
            const { x, y, width, height } = range.getBoundingClientRect();
            return [x + 0.8 * width, y + height / 2];
        }"""
    )
    text = written.text_content() or ""
    page.mouse.click(*place)
    table = panel.locator(".alternatives[data-token='20']")
    expect(table.locator("tbody tr").first).to_be_visible()
    expect(table.get_by_text("is there")).to_have_count(1)
    table.get_by_role("button", name="Later").click()
    expect(panel.locator(".alternatives[data-token='21']")).to_be_visible()
    expect(panel.get_by_role("button", name="Later")).to_be_focused()
    panel.get_by_role("button", name="Earlier").click()
    expect(table).to_be_visible()
    names = [name.removeprefix("Go on with ") for name in table.locator("[data-id]").evaluate_all(LABELS)]
    other = next(name for name in names if len(name) == 1)  # neither "space" nor "new line"
    table.locator("[data-id]").nth(names.index(other)).click()
    expect(panel.locator("#text-b .sheet .prompt")).not_to_have_text("Hello")
    assert panel.locator("#text-b .sheet .prompt").text_content() == f"Hello{text[:20]}{other}"
    expect(panel.get_by_text("Done in")).to_be_visible()
    panel.locator("#text-b").get_by_role("button", name="Undo").click()
    expect(panel.locator("#text-b .sheet .prompt")).to_have_text("Hello")
    assert written.text_content() == text


@pytest.mark.slow
def test_a_note_and_a_sound_show_alternatives(page: Page) -> None:
    for name, target, press in (("music", ".key[data-token]", True), ("audio", ".timeline .panel.wave", False)):
        panel = opened(page, name)
        generate(panel, "20" if press else "0.1")
        panel.get_by_role("button", name="Surprise").click()
        panel.get_by_label("By its own model").check()
        panel.locator(f"#{name}-a .tinted {target}").first.click(force=True)
        expect(panel.locator(".alternatives table")).to_be_visible()
        assert not press or panel.locator(".key.looked").count() == 1
