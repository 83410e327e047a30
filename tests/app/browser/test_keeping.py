"""What was made is found again: by link, file, history and address."""

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from visit import PATIENCE, done, drop, generate, opened, saved, sheets


def test_a_link_brings_a_result_back(page: Page, browser: Browser, tmp_path: Path) -> None:
    panel = opened(page, "music")
    panel.locator(".examples").get_by_text("Für Elise").click()
    expect(panel.get_by_text("What the models hear")).to_be_visible()
    generate(panel, "20")
    name = panel.locator("#music-b .view .figure").get_attribute("aria-label")
    path = saved(page, panel.locator("#music-b").get_by_role("button", name="Save MID"), tmp_path)
    assert re.fullmatch(r"music-haar-seed0-\d+-notes-Beethoven-Für-Elise\.mid", path.name)
    assert "recipe=" in page.url
    other = browser.new_page()
    other.goto(page.url)  # another visitor with the link
    theirs = other.locator("#music-tab")
    expect(theirs.locator("#music-b .view").get_by_role("img", name=name or "", exact=True)).to_be_visible(
        timeout=PATIENCE
    )
    again = saved(other, theirs.locator("#music-b").get_by_role("button", name="Save MID"), tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    other.close()


@pytest.mark.slow
def test_a_file_and_the_history_bring_a_result_back(page: Page, browser: Browser, tmp_path: Path) -> None:
    panel = opened(page, "music")
    panel.locator(".examples").get_by_text("Für Elise").click()
    generate(panel, "20")
    name = panel.locator("#music-b .view .figure").get_attribute("aria-label")
    path = saved(page, panel.locator("#music-b").get_by_role("button", name="Save MID"), tmp_path)
    other = browser.new_page()
    other.goto(page.url.partition("?")[0])
    opened(other, "music")
    expect(other.locator("#music-tab .history")).to_be_hidden()  # another visitor sees nothing of it
    opened(other, "text")
    drop(other, path)  # opens in the tab of its kind
    expect(other.locator("#music-tab #music-a .view").get_by_role("img", name=name or "", exact=True)).to_be_visible()
    expect(other.locator("#music-prompt")).to_contain_text("fur-elise")  # the whole panel is there again
    expect(other.locator("#music-tab .length input[type=number]")).to_have_value("20")
    other.close()
    generate(panel, "30")
    expect(panel.locator(".losses")).to_be_visible()  # nothing is under way any more
    page.reload()
    panel = opened(page, "music")
    expect(panel.locator(".history button")).to_have_count(2)
    panel.locator(".history button").nth(1).click()
    expect(panel.locator("#music-b .view").get_by_role("img", name=name or "", exact=True)).to_be_visible()


@pytest.mark.slow
def test_opening_a_text_restores_prompt_and_settings(page: Page, tmp_path: Path) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab cd")
    panel.get_by_role("spinbutton", name="Tame to wild").fill("0.65")
    panel.get_by_role("button", name="More settings").click()
    panel.get_by_role("spinbutton", name="Seed").fill("7")
    panel.get_by_label("Same random numbers").uncheck()
    generate(panel, "20")
    before = sheets(panel)
    bundle = saved(page, panel.get_by_role("button", name="Save both as ZIP"), tmp_path)
    assert len(zipfile.ZipFile(bundle).namelist()) == 4
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    done(panel)
    assert sheets(panel) == before
    expect(panel.locator("#text-prompt textarea")).to_have_value("ab cd")
    expect(panel.get_by_role("spinbutton", name="Tame to wild")).to_have_value("0.65")
    expect(panel.locator(".length input[type=number]")).to_have_value("20")
    panel.get_by_role("button", name="More settings").click()
    expect(panel.get_by_role("spinbutton", name="Seed")).to_have_value("7")
    expect(panel.get_by_label("Same random numbers")).not_to_be_checked()
    generate(panel)  # what the panel says makes the same
    assert sheets(panel) == before
