"""Work that is stopped, replaced, fails or waits for a turn."""

import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import gradio as gr
import pytest
from tab import SETTINGS, Tab, begun

from waveletgpt.app import streaming
from waveletgpt.app.serving import visitors
from waveletgpt.app.serving.scheduling import AT_WORK
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate


def test_stopping_keeps_what_there_is_and_continue_goes_on_from_it(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    running = begun(text)
    assert 'class="cursor"' in text.shown[text.tab.cards[0].view]
    assert "Stopping" in unescape(text.ask()[text.tab.status])
    list(running)
    assert "Stopped." in text.status and 'class="cursor"' not in text.shown[text.tab.cards[0].view]
    there = text.ids()
    assert all(5 < len(ids) < 1900 for ids in there) and len(text.history) == 1
    text.shown |= text.handlers.go_on(0, text.session)
    running = begun(text)
    for _ in range(5):
        next(running)
    text.ask()
    list(running)
    a, b = text.ids()
    assert a[: len(there[0])] == there[0] and len(a) > len(there[0])
    assert b == there[1]  # one that was stopped does not go on by itself
    recipe = text.results[0].recipe
    assert len(recipe.lengths) == 2 and sum(recipe.lengths) == len(a) - 1
    again = Tab("text", text.handlers.library.directory)
    again.finish(again.handlers.open_word(again.session, text.shown[text.tab.address]))
    assert again.ids() == text.ids()


def test_stop_before_the_first_token_keeps_the_earlier_results(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    text.finish(text.ask())
    before = text.session.results
    reading = threading.Event()

    def waiting(*arguments: Any, **settings: Any) -> Iterator[Step]:
        reading.wait(20)
        yield from generate(*arguments, **settings)

    monkeypatch.setattr(streaming, "generate", waiting)
    text.shown |= text.ask(seed=1)
    running = text.run()
    assert "Reading the prompt" in unescape(next(running)[text.tab.status])
    text.ask()
    threading.Timer(0.2, reading.set).start()
    list(running)
    assert "Stopped." in text.status and len(text.history) == 1
    if text.session.results is before:  # else a first token was quicker than the stop
        assert text.shown[text.tab.cards[0].go_on]["interactive"]


def test_a_press_while_waiting_for_a_turn_takes_it_back(text: Tab) -> None:
    assert text.ask()[text.tab.generate]["value"] == "Stop"
    changes = text.ask()
    assert "Stopped." in changes[text.tab.status] and changes[text.tab.generate]["value"] == "Generate"
    assert list(text.run()) == [{text.tab.status: gr.skip()}] and not text.results


def test_a_new_wish_ends_the_work_before_it(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    running = begun(text)
    inputs = [*text.names, *SETTINGS._replace(seed=7)]
    text.handlers.generate(text.session, "b", "", 0, *inputs)
    list(running)
    assert all(one.completion.written < 1900 for one in text.results)
    list(text.run())
    assert [one.plan.sampling.seed for one in text.results] == [7, 7]
    assert all(one.completion.done for one in text.results)


def test_a_visitor_who_leaves_ends_the_work(text: Tab, slowly: list[int]) -> None:
    text.shown |= text.ask(length=360)
    threads = threading.active_count()
    running = begun(text)
    assert text.session.running and threading.active_count() > threads
    running.close()  # type: ignore[attr-defined]
    assert not text.session.running and threading.active_count() == threads
    assert all(not one.completion.ongoing for one in text.results)


def test_an_error_while_writing_leaves_what_there_is(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (InputError("the model is damaged"), MemoryError()):

        def failing(*arguments: Any, error: Exception = error, **settings: Any) -> Iterator[Step]:
            yield from itertools.islice(generate(*arguments, **settings), 20)
            time.sleep(0.5)
            raise error

        monkeypatch.setattr(streaming, "generate", failing)
        text.shown |= text.ask()
        if isinstance(error, InputError):
            list(text.run())
            assert "the model is damaged" in text.status
        else:
            with pytest.raises(MemoryError):
                list(text.run())
            assert "Something went wrong" in text.status
            assert "Something went wrong" in text.handlers.failed(text.session)[text.tab.status]
        assert "wrong" in text.status and not text.session.running
        assert 0 < text.results[0].completion.written <= 20
        assert 'class="cursor"' not in text.shown[text.tab.cards[0].view]
        assert text.shown[text.tab.cards[0].go_on]["interactive"]


@pytest.mark.parametrize("writer", ["waveletgpt.common.files._flush", "zipfile.ZipFile.write"])
def test_a_full_disk_is_said_and_the_results_can_be_read(
    writer: str, text: Tab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/secret")

    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        assert "the server cannot write the files of the result" in text.finish(text.ask())
    assert "a result was not written" in caplog.text and not text.session.running
    assert len(text.results) == 2 and text.shown[text.tab.cards[0].go_on]["interactive"]
    assert not any(text.shown[button]["value"] for card in text.tab.cards for button in card.downloads.values())
    assert "Done in" in text.finish(text.ask())


def test_position_in_the_queue_is_shown_and_stop_leaves_it(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "LINE_EVERY", 0.0)
    scheduler = text.handlers.visitors.scheduler
    ahead = [scheduler.enter("text", str(number), [4000, 4000]) for number in range(AT_WORK + 1)]
    text.shown |= text.ask()
    running = text.run()
    next(running)
    assert "2nd in line for text, about" in text.status
    ahead.pop().leave()
    next(running)
    assert "1st in line for text, about" in text.status
    assert "Stopping" in unescape(text.ask()[text.tab.status])
    list(running)
    assert "Stopped." in text.status and not text.results and len(scheduler.lines["text"]) == AT_WORK
    text.shown |= text.ask()
    running = text.run()
    next(running)
    ahead.pop().leave()
    list(running)
    assert "Done in" in text.status and len(scheduler.lines["text"]) == AT_WORK - 1


def test_a_full_queue_is_said_and_leaves_what_there_is(text: Tab) -> None:
    text.finish(text.ask())
    before, scheduler = text.session.results, text.handlers.visitors.scheduler
    scheduler.places = 1
    with scheduler.enter("text", "somebody", [1]):
        told = text.finish(text.ask(seed=1))
    assert "the queue for text is full, with 1 in it; try again in about" in told and "wrong" in told
    assert text.session.results is before
    assert "Done in" in text.finish(text.ask(seed=1))
