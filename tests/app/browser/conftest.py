"""Fixtures of the tests in headless Chromium."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from slow import slow_down
from visit import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",  # a microphone that beeps, allowed without asking
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor, which must not ask for anything elsewhere, log an error, or show one that floats."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            wrong.append(request.url)

    def logged(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(f"{message.text} {message.location.get('url')}")

    page.on("request", requested)
    page.on("console", logged)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    floating = [] if page.is_closed() else page.locator(".toast-body").all_inner_texts()
    page.close()
    assert not wrong and not floating


@pytest.fixture
def page(new_page: Page, page_url: str) -> Page:
    """The page with the tiny checkpoints."""
    new_page.goto(page_url)
    return new_page


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models write less than a thousand tokens a second, as real ones may."""
    slow_down(monkeypatch, 0.001)
