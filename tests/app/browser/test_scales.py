"""Time scales in a browser: shown under the result, muted, and made again beside the whole."""

import pytest
from playwright.sync_api import Page, expect
from visit import done, generate, opened


def test_scales_are_shown_muted_and_made_again(page: Page) -> None:
    panel = opened(page, "text")
    generate(panel, "20")
    panel.get_by_role("button", name="Scales").click()
    scales = panel.locator(".time-scales")
    scales.get_by_label("Card B").check()
    expect(scales.locator(".panel.scales image")).to_be_visible()
    expect(scales.locator("figure.view[data-card=b]")).to_be_visible()
    scales.locator(".timeline").hover()
    assert page.evaluate("CSS.highlights.has('scaled')")
    scales.get_by_role("checkbox").last.check()
    panel.evaluate("panel => { panel.querySelector('.note').textContent = ''; }")
    scales.get_by_role("button", name="Make it again without them").click()
    expect(panel.locator("#text-b .about-line")).to_contain_text("muted:")
    done(panel)
    names = [panel.locator(f"#text-{card} input").first.input_value() for card in "ab"]
    assert names[0] == names[1] == "text-haar"
    expect(panel.locator("#text-a .about-line")).not_to_contain_text("muted:")


@pytest.mark.slow
def test_without_an_index_the_page_says_how_to_make_one(page: Page) -> None:
    panel = opened(page, "music")
    generate(panel, "20")
    panel.get_by_role("button", name="Is it new?").click()
    panel.get_by_label("Compare every result").check()
    expect(panel.locator(".novelty")).to_contain_text("make one with python training/index_data.py")
