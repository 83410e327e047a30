"""The blind test, as a visitor has it."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from visit import saved

from waveletgpt.app.tabs import trial
from waveletgpt.app.votes import Vote, default_path, read_votes

BUTTONS = ("1 is better", "No difference", "2 is better")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "SHORT", {"text": 10.0, "audio": 0.5})
    monkeypatch.setattr(trial, "LONGEST_READ", 2.0)


def new_pair(page: Page, kind: str) -> Locator:
    page.get_by_role("tab", name="Which?").click()
    panel = page.locator("#which-tab")
    expect(panel.get_by_text("Nobody has voted")).to_be_visible()
    if kind != "text":
        panel.get_by_role("radio", name=kind.capitalize()).check()
        expect(panel.get_by_text(f"Nobody has voted on {kind}-baseline")).to_be_visible()
    panel.get_by_role("button", name="New pair").click()
    expect(panel.get_by_text("Before you vote")).to_be_visible()
    for name in BUTTONS:
        expect(panel.get_by_role("button", name=name)).to_be_disabled()
    expect(panel.locator(".names")).to_have_count(0)
    return panel


def kept() -> Vote:
    (vote,) = read_votes(default_path())
    return vote


def test_text_is_read_before_the_vote_which_the_keyboard_can_cast(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 260})  # shows one text at a time
    panel = new_pair(page, "text")
    panel.locator("#which-1 .view").scroll_into_view_if_needed()
    expect(panel.locator(".missing")).to_contain_text("Before you vote, read 2.")
    panel.locator("#which-2 .view").scroll_into_view_if_needed()
    expect(panel.locator(".missing")).to_contain_text("Which one is better?")
    panel.get_by_role("button", name="2 is better").press("Enter")
    expect(panel.locator(".names")).to_contain_text("your choice")
    expect(panel.get_by_role("button", name="Next pair")).to_be_focused()
    vote = kept()
    other = {"text-baseline": "text-haar", "text-haar": "text-baseline"}[vote.preferred]
    expect(panel.locator(".names h3")).to_have_text([f"1 is {other}", f"2 is {vote.preferred} · your choice"])
    assert vote.side_1 == other and min(vote.seconds_1, vote.seconds_2) >= 1
    expect(panel.locator(".tally")).to_contain_text("Of 1 vote with a preference")
    path = saved(page, panel.get_by_role("button", name="Save votes as CSV"), tmp_path)
    assert path.name == "votes.csv" and path.read_bytes() == default_path().read_bytes()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.context.expect_page() as opened:
        panel.get_by_role("link", name="Make it again").first.click()
    expect(opened.value.locator("#text-a .sheet")).to_have_text(panel.locator("#which-1 .sheet").inner_text())
    opened.value.close()


@pytest.mark.slow
def test_both_sounds_are_heard_before_the_vote(page: Page) -> None:
    panel = new_pair(page, "audio")
    transport = panel.locator(".transport")
    for side, left in (("1", "listen to what is new in 2. (0.3 s left)"), ("2", "Which one is better?")):
        transport.get_by_label(side, exact=True).check(force=True)
        transport.get_by_role("button", name="Play").click()
        expect(panel.locator(".missing")).to_contain_text(left)
    panel.get_by_role("button", name="No difference").click()
    expect(panel.locator(".names")).to_be_visible()
    expect(panel.locator(".names")).not_to_contain_text("your choice")
    vote = kept()
    assert vote.preferred == "" and vote.modality == "audio" and min(vote.seconds_1, vote.seconds_2) >= 0.3
