"""The figures of the page, as a visitor has them in headless Chromium.

Opens the app as `waveletgpt app` does, and measures how long the first sound or text takes from opening the page and
from pressing Generate, in several fresh visits. Then it looks at every tab, light and dark, wide and narrow: what axe
finds, whether the page scrolls sideways, how small the targets of a finger are, how many presses of Tab lead from the
prompt to Generate, what is fetched from elsewhere and what the console says. Prints two tables, then one JSON object.
Needs Chromium and the project's `dev` extra.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command
from waveletgpt.common.files import json_text
from waveletgpt.common.progress import progress_bar

QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
TABS = ("text", "audio", "music", "which", "why")
PATIENCE = 120_000  # milliseconds
LOOK = 20  # milliseconds between two looks at the page

WATCH = """([press, state, ready]) => new Promise((resolve) => {
    const read = new Function('return ' + state), fits = new Function('before', 'now', 'return ' + ready);
    const before = read(), begun = performance.now();
    const watch = new MutationObserver(() => {
        if (!fits(before, read())) return;
        watch.disconnect();
        resolve(performance.now() - begun);
    });
    watch.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    document.querySelector(press).click();
})"""
"""Presses a button and waits until the page has changed as wanted; milliseconds. To look in every frame would make a
browser without a GPU draw every frame, which takes it a whole core."""

SHEET = """(() => {
    const sheet = document.querySelector('#text-a .sheet > div');
    return sheet?.textContent.slice(sheet.querySelector('.prompt').textContent.length);
})()"""
READABLE = "(document.querySelector('.sheet > div')?.textContent ?? '').length > 100"
ROLL = "document.querySelector('#music-a .view .figure')?.ariaLabel"
PLAYER = """(() => {
    const player = document.querySelector('#audio-tab .transport');
    const button = player?.querySelector('button');
    return !player || player.hidden || !button || button.disabled ? null : player.querySelector('.time').textContent;
})()"""
CHANGED = "now && now !== before"

SMALL_TARGETS = """() => [...document.querySelectorAll('button, input, textarea, summary, [role=tab]')]
    .map((one) => one.closest('label, .wrap-inner') ?? one)
    .filter((one) => one.offsetParent && one.offsetHeight > 1 && getComputedStyle(one).visibility === 'visible')
    .map((one) => Math.min(one.offsetWidth, one.offsetHeight))"""


@dataclass(frozen=True)
class Config:
    """How fast the page is and whether everybody can use it."""

    visits: int = 5
    """Fresh visits of each kind. Times are their medians."""
    checkpoints: Path | None = None
    """Directory of checkpoints (default: those that ship)."""


@contextmanager
def served(checkpoints: Path | None) -> Iterator[str]:
    """The address of the app, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    extra = [] if checkpoints is None else ["--checkpoints", str(checkpoints)]
    command = [sys.executable, "-m", "waveletgpt", "app", "--port", str(port), *extra]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ) as app:
        try:
            while True:
                try:
                    urlopen(url).close()
                    break
                except OSError:
                    if app.poll() is not None:
                        raise InputError("the app did not open; see its message above") from None
                    time.sleep(0.2)
            yield url
        finally:
            app.terminate()


class Visits:
    """Fresh visits of the page, with what they fetch from elsewhere and what the console says."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.outside: set[str] = set()
        self.errors: list[str] = []

    @contextmanager
    def visit(self, width: int = 1280, *, dark: bool = False) -> Iterator[Page]:
        """A visitor whose browser knows nothing of the page yet."""
        scheme: Any = "dark" if dark else "light"
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        own = (self.url, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else self.outside.add(request.url))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        try:
            yield page
        finally:
            context.close()

    def seconds(self) -> dict[str, list[float]]:
        """One visit's times in seconds, and a yardstick: machines differ, and shared ones from hour to hour."""
        measured = yardstick()
        with self.visit() as page:
            begun = time.monotonic()
            page.goto(self.url, wait_until="domcontentloaded")
            page.wait_for_function(f"() => {READABLE}", polling=LOOK)
            found = {"load to first text": [time.monotonic() - begun]}
            page.wait_for_function(f"() => {SHEET} && !document.querySelector('#first')", polling=LOOK)
            found["load to all controls"] = [time.monotonic() - begun]
            begun = time.monotonic()
            page.get_by_role("tab", name="Audio").click()
            page.wait_for_function(f"() => {PLAYER}", polling=LOOK)
            found["tab to first sound"] = [time.monotonic() - begun]
            page.get_by_role("tab", name="Music").click()
            page.wait_for_function(f"() => {ROLL}", polling=LOOK)
            for tab, name, state, ready in (
                ("text", "press to first new text", SHEET, CHANGED),
                ("music", "press to first roll", ROLL, CHANGED),
                ("audio", "press to first sound", PLAYER, CHANGED),
            ):
                page.get_by_role("tab", name=tab.capitalize()).click()
                panel = page.locator(f"#{tab}-tab")
                panel.get_by_role("button", name="Generate").wait_for()
                panel.get_by_role("button", name="More settings").click()
                found[name] = []
                for seed in ["7"] if tab == "audio" else ["7", "8", "9"]:  # the visit ends with audio
                    panel.get_by_role("spinbutton", name="Seed").fill(seed)
                    panel.get_by_role("spinbutton", name="Seed").press("Tab")
                    page.wait_for_timeout(500)
                    found[name].append(page.evaluate(WATCH, [f"#{tab}-tab .generate", state, ready]) / 1000)
                    if tab != "audio":
                        panel.get_by_text("Done in").wait_for()
        found["ten million additions in Python"] = [measured]
        return found

    def look(self, width: int, *, dark: bool) -> dict[str, dict[str, Any]]:
        """What is wrong with each tab: axe's findings, the width, the smallest target."""
        found = {}
        with self.visit(width, dark=dark) as page:
            page.goto(self.url)
            for tab in TABS:
                page.get_by_role("tab", name=tab.capitalize()).click()
                if tab not in ("which", "why"):
                    page.locator(f"#{tab}-a :is(.sheet, .figure)").first.wait_for()
                page.wait_for_timeout(1500)
                violations = Axe().run(page).response["violations"]
                found[tab] = {
                    "serious": [one["id"] for one in violations if one["impact"] in ("serious", "critical")],
                    "sideways": page.evaluate("document.documentElement.scrollWidth - innerWidth"),
                    "smallest_target": min(page.evaluate(SMALL_TARGETS)),
                }
                if tab not in ("which", "why"):
                    found[tab]["presses_to_generate"] = presses_to_generate(page, tab)
        return found


def yardstick() -> float:
    """Seconds that ten million additions take in Python, on an otherwise idle machine."""
    begun, total = time.perf_counter(), 0
    for i in range(10_000_000):
        total += i
    return time.perf_counter() - begun


def presses_to_generate(page: Page, tab: str) -> int:
    """Presses of Tab from the prompt to Generate."""
    page.locator(f"#{tab}-prompt :is(textarea, button)").first.focus()
    for presses in range(20):
        if page.evaluate("document.activeElement.classList.contains('generate')"):
            return presses
        page.keyboard.press("Tab")
    raise InputError(f"Generate in {tab} cannot be reached by keyboard")


def main() -> None:
    """Measure, and print what was found."""
    config = parse(Config, description=__doc__)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("there is no Chromium here; install it, on Debian with `apt-get install chromium`")
    kinds = [(width, dark) for width in (1280, 390) for dark in (False, True)]
    with served(config.checkpoints) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        visits, rows, looks = Visits(browser, url), [], {}
        with progress_bar("visiting", config.visits + len(kinds)) as advance:
            for _ in range(config.visits):
                rows.append(visits.seconds())
                advance(1)
            for width, dark in kinds:
                looks[f"{width} {'dark' if dark else 'light'}"] = visits.look(width, dark=dark)
                advance(1)
        browser.close()
    seconds = {name: [round(value, 3) for row in rows for value in row[name]] for name in rows[0]}
    report = {"seconds": seconds, "looks": looks, "outside": sorted(visits.outside), "errors": visits.errors}
    show(report)
    print(json_text(report))


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    table = Table("seconds", "median", "from", "to", title="The page in headless Chromium")
    for name, all_ in report["seconds"].items():
        table.add_row(name, *(f"{value:.2f}" for value in (median(all_), min(all_), max(all_))))
    console.print(table)
    heads = "serious findings of axe", "pixels sideways", "smallest target", "Tabs to Generate"
    table = Table("page", "tab", *heads, title="Every tab")
    for kind, tabs in report["looks"].items():
        for tab, found in tabs.items():
            serious = ", ".join(found["serious"]) or "none"
            numbers = found["sideways"], found["smallest_target"], found.get("presses_to_generate", "")
            table.add_row(kind, tab, serious, *map(str, numbers))
    console.print(table)
    console.print(f"fetched from elsewhere: {len(report['outside'])}; errors in the console: {len(report['errors'])}")


if __name__ == "__main__":
    run_command(main)
