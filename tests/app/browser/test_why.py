"""The tab that says why."""

import pytest
from playwright.sync_api import Page, expect


def test_the_slider_answers_at_once_and_by_keyboard(page: Page) -> None:
    page.get_by_role("tab", name="Why").click()
    panel = page.locator("#why-tab")
    slider, answer = panel.get_by_role("slider"), panel.get_by_role("status")
    expect(answer).to_contain_text("needs 1,000 steps, haar 708: 1.4 times sooner")
    expect(slider).to_have_attribute("aria-valuetext", "2.27 yes/no questions per character")
    assert (slider.bounding_box() or {})["height"] >= 44
    slider.focus()
    page.keyboard.press("End")
    expect(answer).to_contain_text("baseline never gets there")
    expect(panel.locator(".chart .dot.line-0")).to_have_count(0)
    page.keyboard.press("Home")
    expect(panel.locator(".chart .dot")).to_have_count(4)
    expect(slider).not_to_have_attribute("aria-valuetext", "2.27 yes/no questions per character")
    milliseconds = slider.evaluate(
        """slider => {
            const begun = performance.now();
            for (let i = 0; i < 20; i++) {
                slider.value = 5 * i;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
                document.body.offsetHeight;  // lays the page out
            }
            return (performance.now() - begun) / 20;
        }"""
    )
    assert milliseconds < 100


@pytest.mark.slow
def test_kinds_of_data_and_links_of_the_overview_change_chart_and_slider(page: Page) -> None:
    page.get_by_role("tab", name="Why").click()
    panel = page.locator("#why-tab")
    panel.locator("#why-kind").get_by_text("Music").click()
    expect(panel.locator(".lead")).to_contain_text("no sooner than chance may explain (0.96 times as fast")
    expect(panel.get_by_role("slider")).to_have_attribute("aria-valuetext", "4.45 yes/no questions per event")
    panel.locator("[data-report=audio-learned-long]").click()
    expect(panel.locator(".lead")).to_contain_text("2.73 times sooner")
    expect(panel.locator("#why-kind").get_by_label("Audio")).to_be_checked()
    panel.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(panel.get_by_role("status")).not_to_contain_text("needs 500 steps")
    expect(panel.locator(".chart .dot")).to_have_count(4)
    panel.get_by_text("Other measurements").click()
    panel.get_by_text("Audio, 0.5 million tokens, learned positions: haar, learnable, token shift, dyadic").click()
    expect(panel.locator(".lead")).to_contain_text("2.32 times sooner")


@pytest.mark.slow
def test_wide_tables_scroll_in_themselves(page: Page) -> None:
    page.get_by_role("tab", name="Why").click()
    panel = page.locator("#why-tab")
    panel.get_by_text("The full report of this measurement").click()
    table = panel.get_by_role("region", name="Table: Text, 2 million tokens, rotary positions")
    expect(table).to_be_visible()
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert table.evaluate("table => table.scrollWidth > table.clientWidth && table.tabIndex == 0")
        for plot in panel.locator("img.plot").all():
            box = plot.bounding_box()
            assert box and box["x"] + box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
