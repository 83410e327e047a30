"""What a visitor does on the page, for the tests that look at it in headless Chromium."""

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

PATIENCE = 120_000  # milliseconds, for busy machines
CARDS = ("a", "b")


def opened(page: Page, name: str) -> Locator:
    page.get_by_role("tab", name=name.capitalize()).click()
    panel = page.locator(f"#{name}-tab")
    expect(panel.get_by_role("button", name="Generate")).to_be_visible()
    return panel


def set_length(panel: Locator, length: str) -> None:
    field = panel.locator(".length input[type=number]")
    field.fill(length)
    field.press("Tab")
    expect(panel.locator(".length input[type=range]")).to_have_value(length)


BEGINNING = """panel => {
    const isDone = () => panel.textContent.includes('Done in');
    window.begun = !isDone();
    new MutationObserver((_, observer) => {
        if (isDone()) return;
        window.begun = true;
        observer.disconnect();
    }).observe(panel, { subtree: true, childList: true, characterData: true });
}"""
"""Notices that what is done is no longer said of the results before."""


def generate(panel: Locator, length: str = "") -> None:
    if length:
        set_length(panel, length)
    panel.evaluate(BEGINNING)
    panel.get_by_role("button", name="Generate").click()
    panel.page.wait_for_function("window.begun")
    done(panel)


def done(panel: Locator) -> None:
    expect(panel.get_by_role("button", name="Generate")).to_be_visible()
    expect(panel.get_by_text(re.compile(r"Done in"))).to_be_visible()


def sheets(panel: Locator) -> list[str]:
    return [panel.locator(f"#text-{card} .sheet").inner_text() for card in CARDS]


def saved(page: Page, button: Locator, folder: Path) -> Path:
    with page.expect_download() as download:
        button.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def drop(page: Page, path: Path) -> None:
    """Drop a file on the page's heading."""
    page.evaluate(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name));
            const heading = document.querySelector('h1');
            for (const type of ['dragover', 'drop'])
                heading.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [path.name, [*path.read_bytes()]],
    )
