"""What is written when a button is pressed."""

import re
import time
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from visit import PATIENCE, done, generate, opened, saved, set_length, sheets

from waveletgpt.app.serving.scheduling import AT_WORK, Scheduler
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.web.page import open_page


def test_text_is_written_on_both_cards(page: Page, tmp_path: Path) -> None:
    panel = opened(page, "text")
    prompt = "<b>${1+1}</b> {{value}} `x\\"
    panel.locator("#text-prompt textarea").fill(prompt)
    generate(panel, "20")
    for text in sheets(panel):
        assert text.startswith(prompt) and len(text) > len(prompt) + 80
    expect(panel.locator(".losses")).to_have_text(re.compile("A finds its own text .* than B does"))
    expect(panel.locator(".losses span").first).to_have_attribute("title", re.compile(r"\d bits per character, by B"))
    expect(panel.locator(".about-line").last).to_contain_text("GPT with haar wavelets")
    path = saved(page, panel.locator("#text-a").get_by_role("button", name="Save TXT"), tmp_path)
    assert path.read_text() == sheets(panel)[0] and path.name.startswith("text-baseline-seed0-20-words")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.locator("#text-b").get_by_role("button", name="Copy").click()
    expect(panel.locator("#text-b .copy-text")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == sheets(panel)[1]
    bundle = saved(page, panel.get_by_role("button", name="Save both as ZIP"), tmp_path)
    assert len(zipfile.ZipFile(bundle).namelist()) == 4


@pytest.mark.slow
def test_what_phones_type_is_mapped_and_said(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("caf\u00e9 a\u00a0b")
    generate(panel, "10")
    expect(panel.get_by_text("\u00e9 became e")).to_be_visible()
    assert all(text.startswith("cafe a b") for text in sheets(panel))


def test_stop_keeps_what_there_is(page: Page, slowly: None, tmp_path: Path) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab")
    set_length(panel, "360")
    panel.get_by_role("button", name="Generate").click()
    expect(panel.locator("#text-b .cursor")).to_be_visible()
    expect(panel.locator("#text-b .sheet")).to_contain_text(re.compile(".{20}"))
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("Stopped.")).to_be_visible()
    expect(panel.locator(".cursor")).to_have_count(0)
    expect(panel.get_by_role("button", name="Generate")).to_be_visible()
    path = saved(page, panel.locator("#text-a").get_by_role("button", name="Save TXT"), tmp_path)
    assert path.read_text() == sheets(panel)[0] and "360" not in path.name


@pytest.mark.slow
def test_another_press_while_running_ends_the_first(page: Page, slowly: None) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("first")
    set_length(panel, "360")
    panel.get_by_role("button", name="Generate").click()
    expect(panel.locator("#text-a .sheet")).to_contain_text("first")
    panel.locator("#text-prompt textarea").fill("second")
    set_length(panel, "10")
    panel.get_by_role("button", name="Another").click()
    expect(panel.locator("#text-a .sheet")).to_contain_text("second")
    done(panel)
    assert all(text.startswith("second") for text in sheets(panel))


@pytest.mark.slow
def test_results_under_an_error_are_greyed_out_and_come_back(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab")
    generate(panel, "10")
    expect(panel.locator(".cards")).to_have_css("opacity", "1")
    panel.locator("#text-prompt textarea").fill("\u4f60")
    panel.get_by_role("button", name="Generate").click()
    expect(panel.get_by_role("alert")).to_contain_text("the model does not know \u4f60")
    expect(panel.locator(".cards")).to_have_css("opacity", "0.4")
    expect(panel.locator(".losses")).to_contain_text("finds its own text")
    panel.locator("#text-prompt textarea").fill("fine")
    generate(panel, "10")
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.locator(".cards")).to_have_css("opacity", "1")


def test_continue_undo_and_branch(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab")
    generate(panel, "20")
    before = sheets(panel)
    card = panel.locator("#text-a")
    expect(card.get_by_role("button", name="Undo")).to_be_disabled()
    card.get_by_role("button", name="Continue").click()
    expect(card.get_by_role("button", name="Undo")).to_be_enabled()
    after = sheets(panel)
    assert after[0].startswith(before[0].rstrip()) and len(after[0]) > len(before[0]) + 80 and after[1] == before[1]
    card.get_by_role("button", name="Undo").click()
    expect(panel.get_by_text("Undone.")).to_be_visible()
    assert sheets(panel) == before
    panel.locator("#text-b").get_by_role("button", name="A and B go on from B").click()
    expect(panel.locator("#text-a .prompt")).to_contain_text(before[1].split()[0])
    done(panel)
    assert all(text.startswith(before[1][:100].rstrip()) for text in sheets(panel))


@pytest.mark.slow
def test_variations(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab")
    panel.get_by_role("button", name="More settings").click()
    panel.get_by_role("spinbutton", name="Variations").fill("3")
    panel.get_by_role("spinbutton", name="Variations").press("Tab")
    expect(panel.get_by_role("slider", name="Variations")).to_have_value("3")
    generate(panel, "10")
    first = sheets(panel)
    panel.locator("#text-a").get_by_role("radio", name="3").click()
    expect(panel.get_by_text("Variation 3.")).to_be_visible()
    assert sheets(panel)[0] != first[0] and sheets(panel)[1] == first[1]
    panel.locator("#text-a").get_by_role("radio", name="1").click()
    expect(panel.get_by_text("Variation 1.")).to_be_visible()
    assert sheets(panel) == first


@pytest.mark.slow
def test_a_long_text_is_used_to_its_end(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("x" * 25_000 + " at the end")
    generate(panel, "10")
    expect(panel.get_by_text("only the end of the prompt is used")).to_be_visible()
    assert all("xxx at the end" in text for text in sheets(panel))


@pytest.mark.slow
def test_a_checkpoint_that_appears_later_can_be_chosen(
    browser: Browser, tiny_checkpoints: Path, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "text-baseline").symlink_to(tiny_checkpoints / "text-baseline")
    served = open_page(tmp_path, "127.0.0.1", free_port, block=False)
    try:
        page = browser.new_page()
        page.goto(served.local_url)
        panel = opened(page, "text")
        panel.locator("#text-prompt textarea").fill("ab")
        generate(panel, "10")  # with one checkpoint alone
        expect(panel.locator(".losses")).to_have_text(
            re.compile(r"as unsure of each character as of one among [\d.]+ equally")
        )
        (tmp_path / "text-later").symlink_to(tiny_checkpoints / "text-haar")
        panel.get_by_label("Card B").click()
        page.get_by_role("option", name="text-later").click()
        generate(panel, "10")
        expect(panel.locator("#text-b .sheet")).to_contain_text("ab")
        page.close()
    finally:
        served.close()


@pytest.mark.slow
def test_position_and_a_full_queue_are_seen_under_the_buttons(
    browser: Browser, tiny_checkpoints: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(places=AT_WORK + 1)
    monkeypatch.setattr("waveletgpt.app.web.page.Visitors", lambda _: Visitors(scheduler))
    served = open_page(tiny_checkpoints, "127.0.0.1", free_port, block=False)
    try:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.goto(served.local_url)
        panel = opened(page, "text")
        set_length(panel, "10")
        ahead = [scheduler.enter("text", str(number), [4000, 4000]) for number in range(AT_WORK + 1)]
        panel.get_by_role("button", name="Generate").click()
        expect(panel.get_by_role("alert")).to_contain_text("the queue for text is full, with 5 in it")
        expect(panel.get_by_role("button", name="Generate")).to_be_visible()
        ahead.pop().leave()
        panel.get_by_role("button", name="Generate").click()
        expect(panel.get_by_text("1st in line for text, about")).to_be_visible()
        page.close()  # a visitor who goes leaves the line
        begun = time.monotonic()
        while len(scheduler.lines["text"]) > AT_WORK and time.monotonic() - begun < 30:
            time.sleep(0.05)
        assert len(scheduler.lines["text"]) == AT_WORK
    finally:
        served.close()
