"""The page as a person uses it: all three tabs in headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from symusic.core import ScoreTick

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
SIDES = ("baseline", "wavelet")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, page_url: str) -> Iterator[Page]:
    """The page, which must neither ask for anything elsewhere nor log an error."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    strangers: list[str] = []
    errors: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith((page_url, "data:", "blob:")):
            strangers.append(request.url)

    def logged(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("request", requested)
    page.on("console", logged)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_url)
    yield page
    page.close()
    assert not strangers
    assert not errors


def opened(page: Page, name: str) -> Locator:
    page.get_by_role("tab", name=name.capitalize()).click()
    panel = page.locator(f"#{name}-tab")
    expect(panel.get_by_role("button", name="Generate")).to_be_visible()
    return panel


def generate(panel: Locator, length: str) -> None:
    panel.locator("input[type=number]").first.fill(length)
    panel.get_by_role("button", name="Generate").click()
    expect(panel.get_by_text("Done in")).to_be_visible()


def downloaded(page: Page, column: Locator, suffix: str, folder: Path) -> Path:
    with page.expect_download() as download:
        column.get_by_role("button", name=f"Download {suffix.upper()}").click()
    path = folder / download.value.suggested_filename
    assert path.suffix == f".{suffix}"
    download.value.save_as(path)
    return path


def test_text_is_written_in_both_columns(page: Page) -> None:
    panel = opened(page, "text")
    prompt = "<b>${1+1}</b> {{value}} `x\\"
    panel.locator("#text-prompt textarea").fill(prompt)
    generate(panel, "100")
    for side in SIDES:
        column = panel.locator(f"#text-{side}")
        text = column.locator(".sheet").inner_text()
        assert text.startswith(prompt) and len(text) > len(prompt) + 80
        expect(column.locator(".figures")).to_have_text(
            re.compile(r"100 characters · \d\.\d\d bits per character · [\d,]+ tokens/s")
        )
        expect(column.locator(".card")).to_contain_text("validation 4.328 bits per character · 1,234 steps")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert panel.get_by_text("More settings").bounding_box()["y"] < 880  # type: ignore[index]


def test_bad_input_is_told_in_one_line(page: Page) -> None:
    panel = opened(page, "text")
    for prompt, told in (("Zoé", "character 'é' at position 2 is not in the alphabet"), ("", "prompt is empty")):
        panel.locator("#text-prompt textarea").fill(prompt)
        panel.get_by_role("button", name="Generate").click()
        expect(panel.get_by_role("alert")).to_contain_text(told)
        expect(panel.get_by_text("Error", exact=True)).to_have_count(0)
    panel.locator("#text-prompt textarea").fill("fine")
    generate(panel, "50")
    expect(panel.get_by_role("alert")).to_have_count(0)


def test_audio_goes_on_from_a_file(page: Page, sound_file: Path, tmp_path: Path) -> None:
    panel = opened(page, "audio")
    panel.locator("#audio-prompt input[type=file]").set_input_files(sound_file)
    expect(panel.locator("#audio-prompt").get_by_label("Play", exact=True)).to_be_visible()
    generate(panel, "0.3")
    for side in SIDES:
        column = panel.locator(f"#audio-{side}")
        expect(column.get_by_alt_text("Waveform and spectrogram of 1.30 seconds of sound")).to_be_visible()
        expect(column.locator(".figures")).to_contain_text("1,200 samples")
        expect(column.locator("audio")).to_have_js_property("duration", 1.3)
        samples, rate = soundfile.read(downloaded(page, column, "wav", tmp_path))
        assert len(samples) / rate == 1.3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_audio_goes_on_from_a_recording(page: Page) -> None:
    panel = opened(page, "audio")
    prompt = panel.locator("#audio-prompt")
    prompt.get_by_label("Record audio").click()
    prompt.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1000)
    prompt.get_by_role("button", name="Stop").click()
    expect(prompt.get_by_label("Play", exact=True)).to_be_visible()
    generate(panel, "0.1")
    image = panel.locator("#audio-baseline img.figure")
    expect(image).to_be_visible()
    assert "of 0.10 seconds" not in (image.get_attribute("alt") or "")


def test_stop_leaves_something_to_play(page: Page, tmp_path: Path) -> None:
    panel = opened(page, "audio")
    panel.locator("input[type=number]").first.fill("5")
    panel.get_by_role("button", name="Generate").click()
    column = panel.locator("#audio-wavelet")
    expect(column.locator(".figures")).to_contain_text("of 20,000 samples")
    expect(column.locator(".figures")).to_contain_text("tokens/s")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("Stopped.")).to_be_visible()
    seconds = soundfile.info(downloaded(page, column, "wav", tmp_path)).duration
    assert 0 < seconds < 5
    generate(panel, "0.1")  # the line is free again
    expect(column.locator(".figures")).to_contain_text("400 samples")


def test_music_goes_on_from_a_midi_file(page: Page, midi_file: Path, tmp_path: Path) -> None:
    panel = opened(page, "music")
    panel.locator("#music-prompt input[type=file]").set_input_files(midi_file)
    expect(panel.get_by_text("scale.mid")).to_be_visible()
    generate(panel, "50")
    for side in SIDES:
        column = panel.locator(f"#music-{side}")
        expect(column.locator("img.figure")).to_have_attribute("alt", re.compile(r"Piano roll of \d+ notes"))
        expect(column.locator(".figures")).to_have_text(re.compile(r"50 events · \d\.\d\d nats per event · .*"))
        expect(column.locator("audio")).to_be_visible()
        notes = ScoreTick(downloaded(page, column, "mid", tmp_path)).tracks[0].notes
        assert [note.pitch for note in notes[:3]] == [60, 62, 64]
        assert soundfile.info(downloaded(page, column, "wav", tmp_path)).duration > 3


def test_a_narrow_window_has_no_horizontal_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    for name in ("text", "audio", "music"):
        opened(page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
