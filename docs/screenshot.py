"""Take pictures of the page: those of README.md, or with --out one of a tab while or after it generates.

`python docs/screenshot.py` replaces the pictures in docs/ of all tabs. Needs Chromium and
the project's `dev` extra.
"""

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from playwright.sync_api import Page, sync_playwright

from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.web.page import open_page
from waveletgpt.common.command_line import parse
from waveletgpt.common.errors import InputError, run_command

DOCS = Path(__file__).resolve().parent
Tab = Literal["text", "audio", "music", "which", "training", "why"]
TABS: tuple[Tab, ...] = get_args(Tab)
Instrument = Literal["", "surprise", "scales", "new"]
INSTRUMENTS: dict[Instrument, Tab] = {"surprise": "text", "scales": "audio", "new": "music"}
SMALL = (
    "--model.block-size 128 --model.n-embd 48 --model.n-hidden 192 --model.n-layer 3 --model.n-head 3 --batch-size 16 "
    "--model.n-levels 7 --steps 800 --eval-every 80 --eval-windows 32 --optimizer.warmup-steps 40 --sample-tokens 400 "
    "--threads 1 --no-tensorboard"
)
"""Settings of the two runs that are trained for a picture."""
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"


@dataclass(frozen=True)
class Config:
    """Pictures of the page."""

    out: Path | None = None
    """PNG to write; without it, all pictures of README.md."""
    tab: Tab = "text"
    """Tab to show."""
    instrument: Instrument = ""
    """Instrument below the cards to use, with the cards above it; the prompt bar is then left out."""
    url: str = ""
    """Address of an open page; one is opened for the picture unless given."""
    checkpoints: Path = SHIPPED
    """Directory of checkpoints, where the page is opened here."""
    runs: Path | None = None
    """Directory of runs for the tab training; without it, two small ones are trained for the picture."""
    prompt: str = ""
    """Text to type, or a file to upload; what the page begins with unless given."""
    length: float = 0
    """In the tab's unit; what the page begins with unless given."""
    generate: bool = False
    """Whether to press Generate and wait for the end, instead of showing what the tab opens with."""
    after: float = 0
    """Take the picture this many seconds after the press instead."""
    width: int = 1280
    height: int = 900
    whole: bool = False
    """Show the whole page, however long."""
    dark: bool = False


def main() -> None:
    """Read the command line, take the picture."""
    config = parse(Config, description=__doc__)
    pictures = (
        [config]
        if config.out
        else [replace(config, tab=tab, out=DOCS / f"{tab}.png", whole=tab != "why") for tab in TABS]
        + [
            replace(config, tab=tab, out=DOCS / f"{instrument}.png", whole=True, instrument=instrument)
            for instrument, tab in INSTRUMENTS.items()
        ]
    )
    with TemporaryDirectory() as folder, ExitStack() as at_the_end:
        url = config.url
        if not url:
            watched = any(picture.tab == "training" for picture in pictures)
            runs = config.runs or (train_two(Path(folder)) if watched else None)
            votes = Path(folder, "votes.csv")  # for the vote of the picture, which is nobody's
            page = open_page(config.checkpoints, "127.0.0.1", free_port(), runs=runs, votes=votes, block=False)
            at_the_end.callback(page.close)
            url = page.local_url
        for picture in pictures:
            take(picture, url)


def train_two(folder: Path) -> Path:
    """A baseline and its twin on Python's manual, two minutes each. Returns the directory of the runs."""
    prepare = "prepare_text.py --source builtin --out data/manual"
    train = f"train_text.py --preset debug --data data/manual {SMALL}"
    for command in (prepare, *(f"{train} --out runs/manual-{one} --model.mixer {one}" for one in ("none", "haar"))):
        script, *flags = command.split()
        subprocess.run([sys.executable, f"{DOCS.parent / 'training' / script}", *flags], cwd=folder, check=True)
    return folder / "runs"


def take(config: Config, url: str) -> None:
    """Open the page at `url`, press Generate if asked to, and write the picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("there is no Chromium here; install it, on Debian with `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        page = browser.new_page(
            viewport={"width": config.width, "height": config.height},
            device_scale_factor=1.25,
            color_scheme="dark" if config.dark else "light",
        )
        page.goto(url)
        page.get_by_role("tab", name=config.tab.capitalize()).click()
        if config.tab == "training":
            page.locator("#training figure").first.wait_for()
        elif config.tab == "which":
            vote(page, cast=not config.url)
        elif config.tab != "why":
            page.locator(f"#{config.tab}-a :is(.sheet, .figure)").first.wait_for()  # what the tab opens with
            fill(page, config)
            use(page, config)
        if not config.after:
            page.wait_for_timeout(1000)  # until fades have ended and the models have scored each other
        page.screenshot(path=config.out, full_page=config.whole)
        browser.close()


def vote(page: Page, *, cast: bool) -> None:
    """Read a pair of the blind test, and vote for the first unless the page is somebody's."""
    panel = page.locator("#which-tab")
    panel.get_by_role("button", name="New pair").click()
    panel.get_by_text("Which one is better?").wait_for(timeout=600_000)
    if cast:
        panel.get_by_role("button", name="1 is better").click()
        panel.locator(".names").wait_for()


def use(page: Page, config: Config) -> None:
    """Use an instrument."""
    panel = page.locator(f"#{config.tab}-tab")
    if config.instrument == "surprise":
        panel.get_by_role("button", name="Surprise").click()
        panel.get_by_label("By its own model").check()
        panel.get_by_role("button", name="Most surprising of B").click()
        panel.locator(".alternatives table").wait_for()
    elif config.instrument == "scales":
        panel.get_by_role("button", name="Scales").click()
        panel.locator(".time-scales").get_by_label("Card B").check()
        panel.locator(".panel.scales").wait_for()
    elif config.instrument == "new":
        panel.get_by_role("button", name="Is it new?").click()
        panel.get_by_label("Compare every result").check()
        panel.locator(".novelty").wait_for()
    if config.instrument:
        page.add_style_tag(content=".about, .tab-wrapper, .bar, .keep, footer { display: none !important; }")


def fill(page: Page, config: Config) -> None:
    """Give the prompt and the length, and generate."""
    prompt = page.locator(f"#{config.tab}-prompt")
    if config.prompt and config.tab == "text":
        prompt.locator("textarea").fill(config.prompt)
    elif config.prompt:
        prompt.locator("input[type=file]").set_input_files(config.prompt)
        page.wait_for_timeout(1500)
    panel = page.locator(f"#{config.tab}-tab")
    if config.length:
        panel.locator(".length input[type=number]").fill(f"{config.length:g}")
    if config.generate:
        panel.get_by_role("button", name="Generate").click()
        if config.after:
            page.wait_for_timeout(1000 * config.after)
        else:
            panel.get_by_text("Done in").wait_for(timeout=600_000)


def free_port() -> int:
    """An unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    run_command(main)
