"""The page for everybody: by keyboard, on a phone, in the dark, over a slow line."""

import re
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect
from ports import unused_port
from visit import done, generate, opened, set_length, sheets

from waveletgpt.app.checkpoints import SHIPPED
from waveletgpt.app.web.page import open_page


@pytest.mark.slow
def test_scripts_of_the_page_may_arrive_late(new_page: Page, page_url: str) -> None:
    page, held = new_page, list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile("/assets/Index-"), hold)
    page.goto(page_url, wait_until="domcontentloaded")
    loading = page.locator(".app > [data-testid=status-tracker]")
    for _ in range(150):  # each arrives after the server had time to answer what those before it asked
        page.wait_for_timeout(200)
        if held:
            held.pop(0).continue_()
        elif page.get_by_role("tab").count() and not loading.count():
            break
    expect(loading).to_have_count(0, timeout=10_000)


def test_the_opening_can_be_read_before_the_scripts_are_there(new_page: Page, tmp_path: Path, page_url: str) -> None:
    page, held = new_page, list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    for name in ("text-baseline", "text-learnable"):
        (tmp_path / name).symlink_to(SHIPPED / name)
    served = open_page(tmp_path, "127.0.0.1", unused_port(), block=False)
    page.route("**/assets/index-*.js", hold)  # with which all others begin
    page.goto(f"{served.local_url}?recipe=wgpt", wait_until="commit")  # asks for something else
    expect(page.locator("#first")).to_have_count(0)
    for encoding in ("identity", "gzip", "br, gzip"):
        answer = httpx.get(str(served.local_url), headers={"accept-encoding": encoding})
        assert 'id="first"' in answer.text and ("gzip" in encoding) == ("content-encoding" in answer.headers)
    page.goto(str(served.local_url), wait_until="commit")
    first = page.locator("#first .sheet")
    expect(first).to_have_count(2)
    texts = first.all_inner_texts()
    assert all(len(text) > 300 for text in texts)
    held[-1].continue_()
    expect(page.locator("#first")).to_have_count(0)
    assert sheets(page.locator("#text-tab")) == texts
    page.close()
    served.close()

    assert 'id="first"' not in httpx.get(page_url).text  # the opening's checkpoints are not there
    locked = open_page(tmp_path, "127.0.0.1", unused_port(), logins=[("ann", "secret")], block=False)
    assert 'id="first"' not in httpx.get(str(locked.local_url)).text  # before a login
    locked.close()


def test_the_keyboard_alone_generates(page: Page) -> None:
    panel = opened(page, "text")
    set_length(panel, "10")
    panel.locator("#text-prompt textarea").fill("ab")
    page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Generate")).to_be_focused()
    page.keyboard.press("Enter")
    done(panel)
    first = sheets(panel)
    panel.locator("#text-prompt textarea").fill("cd")
    page.keyboard.press("Control+Enter")
    expect(panel.locator("#text-a .sheet")).to_contain_text("cd")
    done(panel)
    assert sheets(panel) != first


@pytest.mark.parametrize(("width", "dark"), [pytest.param(390, False, marks=pytest.mark.slow), (1280, True)])
def test_axe_finds_nothing_serious(new_page: Page, page_url: str, width: int, dark: bool) -> None:
    page = new_page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page.goto(page_url)
    expect(page.locator("body")).to_have_class(re.compile("dark" if dark else "^(?!.*dark)"))
    for name in ("text", "audio", "music", "which", "why"):
        page.get_by_role("tab", name=name.capitalize()).click()
        if name == "text":
            generate(page.locator("#text-tab"), "10")
        page.wait_for_timeout(500)  # until fades have ended
        all_found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        found = [one for one in all_found if one["impact"] in ("serious", "critical")]
        assert not found, [
            (one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]
        ]


def test_a_phone_shows_the_results_and_never_scrolls_sideways(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(240 * 4000), 4000)  # whose waveform is wider than a phone
    page.set_viewport_size({"width": 390, "height": 800})
    for name in ("text", "audio", "music", "which", "why"):
        page.get_by_role("tab", name=name.capitalize()).click()
        if name not in ("which", "why"):
            expect(page.locator(f"#{name}-tab").get_by_role("button", name="Generate")).to_be_visible()
        if name == "audio":
            page.locator("#audio-prompt input[type=file]").set_input_files(tmp_path / "long.wav")
            expect(page.locator("#audio-until input[type=number]")).to_have_value("240")
            expect(page.locator("#audio-tab .waveform-container")).to_have_count(2)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = page.evaluate(
            """() => [...document.querySelectorAll('button, input, textarea, summary')]
                .map((one) => one.closest('label, .wrap-inner') ?? one)
                .filter((one) => one.checkVisibility({ visibilityProperty: true }) && one.offsetHeight > 1)
                .filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 44)
                .map((one) => one.textContent.trim() || one.ariaLabel || one.outerHTML)"""
        )
        assert not small
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("ab")
    generate(panel, "10")
    expect(panel.locator("#text-a .sheet")).to_be_in_viewport()


def test_generate_is_two_tabs_from_the_prompt_and_sliders_show_their_focus(page: Page) -> None:
    for name in ("text", "audio", "music"):
        panel = opened(page, name)
        panel.locator(f"#{name}-prompt :is(textarea, button)").last.focus()
        for _ in range(2):
            if page.evaluate("!document.activeElement.matches('.generate')"):
                page.keyboard.press("Tab")
        expect(panel.get_by_role("button", name="Generate")).to_be_focused()
        slider = panel.locator(".length input[type=range]")
        expect(slider).to_have_css("outline-style", "none")
        slider.press("Shift")  # focused by keyboard
        expect(slider).to_have_css("outline-style", "solid")


@pytest.mark.slow
def test_a_login_opens_the_page(new_page: Page, tiny_checkpoints: Path, free_port: int) -> None:
    served = open_page(tiny_checkpoints, "127.0.0.1", free_port, logins=[("ann", "secret")], block=False)
    try:
        new_page.goto(served.local_url)
        new_page.get_by_label("Username").fill("ann")
        new_page.get_by_label("Password").fill("secret")
        new_page.get_by_role("button", name="Login").click()
        panel = opened(new_page, "text")
        panel.locator("#text-prompt textarea").fill("ab")
        generate(panel, "10")
        assert all(text.startswith("ab") for text in sheets(panel))
    finally:
        new_page.close()
        served.close()
