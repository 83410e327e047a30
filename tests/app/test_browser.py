"""The page as a person uses it: all three tabs in headless Chromium."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from symusic.core import ScoreTick

from waveletgpt.app import streaming
from waveletgpt.app.web.page import open_page
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
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
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
        expect(column.locator(".metrics")).to_have_text(
            re.compile(
                r"100 characters · \d\.\d\d bits per character \(by the other model: \d\.\d\d\) · [\d,]+ tokens/s"
            )
        )
        expect(column.locator(".card")).to_contain_text("validation 4.328 bits per character · 1,234 steps")
    told = panel.locator(".agreement").inner_text()
    same = re.search(r"first ([\d,]+) character", told)
    shared = [panel.locator(f"#text-{side} .shared").inner_text() for side in SIDES]
    assert shared[0] == shared[1] and len(shared[0]) == (int(same.group(1)) if same else 0)
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
        image = column.get_by_role("img", name="Waveform and spectrogram of 1.30 seconds of sound")
        expect(image).to_be_visible()
        expect(column.locator(".metrics")).to_contain_text("1,200 samples")
        expect(column.locator(".player span")).to_have_text("0:00.0 / 0:01.3")
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
    image = panel.locator("#audio-baseline svg.figure")
    expect(image).to_be_visible()
    assert "of 0.10 seconds" not in (image.get_attribute("aria-label") or "")


def test_sound_can_be_played_while_it_grows_and_is_not_interrupted(page: Page, slowly: None, sound_file: Path) -> None:
    panel = opened(page, "audio")
    panel.locator("#audio-prompt input[type=file]").set_input_files(sound_file)
    expect(panel.locator("#audio-prompt").get_by_label("Play", exact=True)).to_be_visible()
    panel.locator("input[type=number]").first.fill("5")
    column = panel.locator("#audio-wavelet")
    audio = column.locator("audio")
    audio.evaluate(  # notes the sound's source and position while it plays
        """audio => {
            audio.seen = [];
            for (const event of ['playing', 'timeupdate', 'pause'])
                audio.addEventListener(event, () => audio.seen.push([event, audio.src, audio.currentTime]), true);
        }"""
    )
    begun = time.monotonic()
    panel.get_by_role("button", name="Generate").click()
    play = column.get_by_role("button", name="Play")
    play.click()
    assert time.monotonic() - begun < 10  # 2 on a machine that does nothing else
    expect(column.locator(".player span")).to_contain_text("so far")
    expect(column.get_by_role("button", name="Pause")).to_be_visible()
    longer = column.locator(".metrics").inner_text()
    expect(column.locator(".metrics")).not_to_have_text(longer)  # the length grows in the meantime
    expect(play).to_be_visible()  # playing has ended
    events = audio.evaluate("audio => audio.seen")
    seen = events[: [event for event, *_ in events].index("pause") + 1]
    assert seen[0][0] == "playing"
    assert len({source for _, source, _ in seen}) == 1
    assert seen[-1][2] > 1  # more than the prompt, which has one second
    first = seen[0][1]
    expect(audio).not_to_have_js_property("src", first)  # replaced by a longer sound
    assert audio.evaluate("audio => audio.currentTime") == 0
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text(re.compile("Stopped|Done in"))).to_be_visible()
    expect(column.locator(".player span")).not_to_contain_text("so far")
    assert audio.evaluate("audio => audio.src").endswith("audio-haar-seed0.wav")


def test_stop_leaves_something_to_play(page: Page, slowly: None, tmp_path: Path) -> None:
    panel = opened(page, "audio")
    panel.locator("input[type=number]").first.fill("5")
    panel.get_by_role("button", name="Generate").click()
    column = panel.locator("#audio-wavelet")
    expect(column.locator(".metrics")).to_contain_text("of 20,000 samples")
    expect(column.locator(".metrics")).to_contain_text("tokens/s")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("Stopped.")).to_be_visible()
    seconds = soundfile.info(downloaded(page, column, "wav", tmp_path)).duration
    assert 0 < seconds < 5
    generate(panel, "0.1")  # the queue accepts a new job
    expect(column.locator(".metrics")).to_contain_text("400 samples")


def test_a_second_press_ends_the_first_run_and_its_own_result_is_finished(page: Page, slowly: None) -> None:
    panel = opened(page, "text")
    line = panel.locator("#text-wavelet .metrics")
    for length in ("2000", "1950"):  # the second call comes while the first one generates
        panel.locator("input[type=number]").first.fill(length)
        panel.get_by_role("button", name="Generate").click()
        expect(line).to_contain_text(f"of {int(length):,} characters")
    panel.get_by_role("button", name="Generate").click()  # without a pause
    generate(panel, "100")
    expect(line).to_have_text(re.compile(r"100 characters .*by the other model: \d.*"))


def test_no_text_cursor_blinks_after_stop(page: Page, slowly: None) -> None:
    panel = opened(page, "text")
    panel.locator("input[type=number]").first.fill("2000")
    panel.get_by_role("button", name="Generate").click()
    cursors = panel.locator(".cursor")
    expect(cursors).to_have_count(2)
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_text("Stopped.")).to_be_visible()
    expect(cursors).to_have_count(0)


def test_metrics_stay_after_an_error(page: Page) -> None:
    panel = opened(page, "text")
    generate(panel, "100")
    lines = [panel.locator(f"#text-{side} .metrics") for side in SIDES]
    for line in lines:
        expect(line).to_contain_text(re.compile(r"by the other model: \d"))
    before = [line.inner_text() for line in lines]
    panel.locator("#text-prompt textarea").fill("Zo\u00e9")
    panel.get_by_role("button", name="Generate").click()
    expect(panel.get_by_role("alert")).to_contain_text("position 2")
    page.wait_for_timeout(1000)  # events chained to the run come after it
    assert [line.inner_text() for line in lines] == before


def test_metrics_stay_with_one_checkpoint_alone(browser: Browser, tiny_checkpoints: Path, free_port: int) -> None:
    app = open_page(tiny_checkpoints / "text-haar", "127.0.0.1", free_port, block=False)
    page = browser.new_page()
    try:
        page.goto(app.local_url)
        panel = opened(page, "text")
        generate(panel, "100")
        page.wait_for_timeout(1000)  # events chained to the run come after it
        expect(panel.locator("#text-wavelet .metrics")).to_contain_text("100 characters")
    finally:
        page.close()
        app.close()


def test_music_can_be_played_when_the_page_says_done(page: Page) -> None:
    panel = opened(page, "music")
    begun = time.monotonic()
    generate(panel, "500")
    elapsed = time.monotonic() - begun
    for side in SIDES:
        assert panel.locator(f"#music-{side}").get_by_role("button", name="Play").is_visible()
    seconds = float(panel.get_by_text("Done in").inner_text().split()[2])
    assert elapsed / 2 < seconds < elapsed


def test_music_goes_on_from_a_midi_file(page: Page, midi_file: Path, tmp_path: Path) -> None:
    panel = opened(page, "music")
    expect(panel.locator("#music-prompt").get_by_text("Click to Upload")).to_be_visible()
    panel.locator("#music-prompt input[type=file]").set_input_files(midi_file)
    expect(panel.get_by_role("cell", name="scale.mid")).to_be_visible()  # the file name is a cell only after the upload
    generate(panel, "50")
    for side in SIDES:
        column = panel.locator(f"#music-{side}")
        expect(column.get_by_role("img", name=re.compile(r"Piano roll of \d+ notes"))).to_be_visible()
        expect(column.locator(".metrics")).to_have_text(re.compile(r"50 events · \d\.\d\d nats per event .*"))
        expect(column.get_by_role("button", name="Play")).to_be_visible()
        expect(column.locator(".player span")).to_have_text(re.compile(r"0:00\.0 / [01]:\d\d\.\d"))
        notes = ScoreTick(downloaded(page, column, "mid", tmp_path)).tracks[0].notes
        assert [note.pitch for note in notes[:3]] == [60, 62, 64]
        assert soundfile.info(downloaded(page, column, "wav", tmp_path)).duration > 3


def test_a_narrow_window_has_no_horizontal_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    for name in ("text", "audio", "music"):
        opened(page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
