"""Sound that goes on from files and recordings, and is played."""

from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Page, expect
from slow import slow_down
from visit import generate, opened, saved, set_length


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_sound_plays_while_it_grows(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 0.003)  # so that it still grows when a slow machine comes to press Stop
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


@pytest.mark.slow
def test_music_can_be_played_when_the_page_says_done(page: Page) -> None:
    panel = opened(page, "music")
    generate(panel, "20")
    panel.locator(".transport").get_by_role("button", name="Play").click()
    expect(panel.locator(".transport").get_by_role("button", name="Pause")).to_be_visible()
    expect(panel.locator(".transport .time")).not_to_contain_text("0:00.0 /")
