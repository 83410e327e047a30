"""The page as a person uses it: all tabs in headless Chromium."""

import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect, sync_playwright

from waveletgpt.app import streaming
from waveletgpt.app.scheduling import AT_WORK, Scheduler
from waveletgpt.app.web.page import open_page
from waveletgpt.app.web.visitors import Visitors
from waveletgpt.models import generation

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
PATIENCE = 120_000  # milliseconds, for busy machines
CARDS = ("a", "b")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, page_url: str) -> Iterator[Page]:
    """The page, which must neither ask for anything elsewhere nor log an error, nor show one that floats."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    strangers: list[str] = []
    errors: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith((page_url, "data:", "blob:")):
            strangers.append(request.url)

    def logged(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} {message.location.get('url')}")

    page.on("request", requested)
    page.on("console", logged)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_url)
    yield page
    floating = page.locator(".toast-body").all_inner_texts()
    page.close()
    assert not floating
    assert not strangers
    assert not errors


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models write less than a thousand tokens a second, as real ones may."""

    def slow(*arguments: Any, **settings: Any) -> Iterator[generation.Step]:
        for step in generation.generate(*arguments, **settings):
            time.sleep(0.001)
            yield step

    monkeypatch.setattr(streaming, "generate", slow)


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


def generate(panel: Locator, length: str = "") -> None:
    if length:
        set_length(panel, length)
    panel.get_by_role("button", name="Generate").click()
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


def test_what_phones_type_is_mapped_and_said(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("caf\u00e9 a\u00a0b")
    generate(panel, "10")
    expect(panel.get_by_text("\u00e9 became e")).to_be_visible()
    assert all(text.startswith("cafe a b") for text in sheets(panel))


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


def test_scripts_of_the_page_may_arrive_late(browser: Browser, page_url: str) -> None:
    page, held = browser.new_page(), list[Route]()

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
    page.close()


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


def test_a_link_a_file_and_the_history_bring_a_result_back(page: Page, browser: Browser, tmp_path: Path) -> None:
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


def test_a_long_text_is_used_to_its_end(page: Page) -> None:
    panel = opened(page, "text")
    panel.locator("#text-prompt textarea").fill("x" * 25_000 + " at the end")
    generate(panel, "10")
    expect(panel.get_by_text("only the end of the prompt is used")).to_be_visible()
    assert all("xxx at the end" in text for text in sheets(panel))


def test_audio_goes_on_from_a_passage(page: Page, sound_file: Path, tmp_path: Path) -> None:
    panel = opened(page, "audio")
    panel.locator("#audio-prompt input[type=file]").set_input_files(sound_file)
    until = panel.locator("#audio-until input[type=number]")
    expect(until).to_have_value("2")
    until.fill("1.5")
    until.press("Enter")
    panel.locator("#audio-until input[type=range]").press("ArrowLeft")
    generate(panel, "0.3")
    path = saved(page, panel.locator("#audio-a").get_by_role("button", name="Save WAV"), tmp_path)
    samples, rate = soundfile.read(path)
    assert 1.6 < len(samples) / rate < 1.85  # the passage and what was made


def test_audio_goes_on_from_a_recording(page: Page) -> None:
    panel = opened(page, "audio")
    prompt = panel.locator("#audio-prompt")
    prompt.get_by_label("Record audio").click()
    prompt.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1000)
    prompt.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("What the models hear")).to_be_visible()
    generate(panel, "0.1")
    expect(panel.locator("#audio-a .view .figure")).to_be_visible()


def test_sound_plays_while_it_grows(page: Page, slowly: None) -> None:
    panel = opened(page, "audio")
    set_length(panel, "5")
    panel.get_by_role("button", name="Generate").click()
    play = panel.locator(".transport").get_by_role("button", name="Play")
    expect(play).to_be_enabled()
    page.evaluate("document.activeElement.blur()")  # as after a click beside everything
    page.keyboard.press("Space")
    expect(panel.locator(".transport").get_by_role("button", name="Pause")).to_be_visible()
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("Stopped.")).to_be_visible()


def test_music_can_be_played_when_the_page_says_done(page: Page) -> None:
    panel = opened(page, "music")
    generate(panel, "20")
    panel.locator(".transport").get_by_role("button", name="Play").click()
    expect(panel.locator(".transport").get_by_role("button", name="Pause")).to_be_visible()
    expect(panel.locator(".transport .time")).not_to_contain_text("0:00.0 /")


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


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(page: Page, dark: bool) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
    for name in ("text", "audio", "music", "why"):
        page.get_by_role("tab", name=name.capitalize()).click()
        if name == "text":
            generate(page.locator("#text-tab"), "10")
        page.wait_for_timeout(500)  # until fades have ended
        all_found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        found = [one for one in all_found if one["impact"] in ("serious", "critical")]
        assert not found, [
            (one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]
        ]


def test_a_phone_shows_the_results_and_never_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for name in ("text", "audio", "music", "why"):
        page.get_by_role("tab", name=name.capitalize()).click()
        if name != "why":
            expect(page.locator(f"#{name}-tab").get_by_role("button", name="Generate")).to_be_visible()
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


@pytest.mark.parametrize("name", ["text", "audio", "music"])
def test_generate_is_two_tabs_from_the_prompt_and_sliders_show_their_focus(page: Page, name: str) -> None:
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


@pytest.mark.parametrize("width", [390, 1280])
def test_wide_tables_scroll_in_themselves(width: int, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("tab", name="Why").click()
    panel = page.locator("#why-tab")
    panel.get_by_text("The full report of this measurement").click()
    table = panel.get_by_role("region", name="Table: Text, 2 million tokens, rotary positions")
    expect(table).to_be_visible()
    assert table.evaluate("table => table.scrollWidth > table.clientWidth && table.tabIndex == 0")
    for plot in panel.locator("img.plot").all():
        box = plot.bounding_box()
        assert box and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
