"""The tab Training in a browser: curves that grow, a slider over samples, commands to copy."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from ports import unused_port
from written import rows, write_run, write_sample

from waveletgpt.app.tabs import runs
from waveletgpt.app.web.page import open_page

LOSSES = {"none": [3.0, 2.5, 2.25, 2.0], "haar": [2.5, 2.0]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    for kind in ("text", "audio"):
        for name, losses in LOSSES.items():
            write_run(directory / f"{kind}-{name}", kind, name, losses)
    return directory


@pytest.fixture(scope="module")
def url(written: Path, tiny_checkpoints: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "EVERY", 0.3)
        served = open_page(tiny_checkpoints, "127.0.0.1", unused_port(), runs=written, block=False)
    yield str(served.local_url)
    served.close()


@pytest.fixture
def training(new_page: Page, url: str) -> Locator:
    """The tab, opened."""
    new_page.goto(url)
    new_page.get_by_role("tab", name="Training").click()
    panel = new_page.locator("#training-tab")
    panel.locator("#training-kind").get_by_text("Text").click()
    expect(panel.locator("#training-run-b input")).to_have_value("text-haar")
    return panel


def test_lines_grow_and_the_slider_changes_the_sample(training: Locator, written: Path) -> None:
    page = training.page
    line = training.locator(".chart .line-1 .line")
    expect(line).to_have_attribute("d", re.compile(r"^M[\d. ]+L[\d. ]+$"))
    expect(training.get_by_role("status").first).to_contain_text("2.0 times sooner")
    cards = training.locator("figure.view")
    expect(cards.nth(1)).to_contain_text("B, step 20 of 40, the last before 40")
    slider = training.locator("#training-at input[type=range]")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(cards.nth(0)).to_contain_text("by text none after 30 steps")
    page.keyboard.press("Home")
    expect(cards.nth(0)).to_contain_text("by text none after 10 steps")
    expect(cards.nth(1)).to_contain_text("by text haar after 10 steps")

    (written / "text-haar" / "metrics.jsonl").write_text(rows([2.5, 2.0, 1.5])[:-20])  # half of the third line
    page.wait_for_timeout(700)
    expect(line).to_have_attribute("d", re.compile(r"^M[\d. ]+L[\d. ]+$"))
    (written / "text-haar" / "metrics.jsonl").write_text(rows([2.5, 2.0, 1.5]))
    write_sample(written / "text-haar", "text", 30)
    expect(line).to_have_attribute("d", re.compile(r"^M[\d. ]+L[\d. ]+L[\d. ]+$"))
    expect(cards.nth(1)).to_contain_text("by text haar after 10 steps")

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    training.get_by_role("button", name="Copy the command of B").click()
    copied = "python training/train.py --preset debug --model.mixer haar"
    expect(training.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == copied


@pytest.mark.slow
def test_the_tab_is_for_everybody_and_sound_goes_on_while_the_slider_moves(training: Locator) -> None:
    page = training.page
    training.locator("#training-kind").get_by_text("Audio").click()
    player = training.locator(".transport")
    expect(player).to_be_visible()
    expect(player.get_by_label("A: audio-none, step 40")).to_be_checked()
    training.locator("#training-at input[type=range]").press("Home")
    expect(player.get_by_label("A: audio-none, step 10")).to_be_checked()
    for width, dark in ((390, False), (1280, True)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        found = [one for one in violations if one["impact"] in ("serious", "critical")]
        assert not found, [(one["id"], node["target"]) for one in found for node in one["nodes"]]
    page.set_viewport_size({"width": 390, "height": 900})
    expect(page.get_by_role("tab", name="Why")).to_be_visible()  # all tabs fit
