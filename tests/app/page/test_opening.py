"""What a tab opens with, and a page that cannot open."""

import shutil
import threading
import time
from pathlib import Path

import gradio as gr
import pytest
from tab import SETTINGS, Tab

from waveletgpt.app import openings, scoring, streaming
from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import Prompt, load_modality
from waveletgpt.app.openings import opening, write_opening
from waveletgpt.app.results import grow, load_named, new_result
from waveletgpt.app.web.page import build_page, open_page
from waveletgpt.app.web.session import Session
from waveletgpt.app.web.tab import answered
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.sampling import Sampling


def test_checkpoints_that_appear_later_can_be_chosen(tiny_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoints / "text-baseline", tmp_path / "first")
    tab = Tab("text", tmp_path, ("first", "second"))
    assert "there is no text checkpoint 'second'; choose first" in tab.finish(tab.ask())
    shutil.copytree(tiny_checkpoints / "text-haar", tmp_path / "second")
    assert tab.handlers.choices("first") == gr.update(choices=["first", "second"], value="first")
    assert "haar" in tab.handlers.chosen("second") and "No checkpoint" in tab.handlers.chosen(None)
    assert "Done" in tab.finish(tab.ask())


def test_a_press_replaces_what_a_tab_opens_with(text: Tab) -> None:
    text.handlers.arrive(text.session, None)  # type: ignore[arg-type]
    assert "Done" in text.finish(text.ask())


def test_a_tab_opens_with_a_finished_pair(
    tiny_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openings, "FOLDER", tmp_path)
    modality, entries = load_modality("text"), Library(tiny_checkpoints, "text").entries()
    assert opening(modality, entries) == [None, None]
    tab = Tab("text", tiny_checkpoints)
    assert modality.prompt.hint in tab.finish(tab.handlers.arrive(tab.session, None))  # type: ignore[arg-type]
    pair = [load_named(modality, entries, name) for name in tab.names]
    prompt = Prompt(pair[0].tokenizer.encode("Hello"), title="Hello")
    *_, made = grow([new_result(modality, one, prompt, 40, Sampling(seed=2)) for one in pair])
    write_opening(made)
    monkeypatch.setattr(streaming, "generate", None)  # nothing is generated, and nothing scored
    monkeypatch.setattr(scoring, "score", None)
    tab = Tab("text", tiny_checkpoints)
    assert modality.prompt.hint in tab.finish(tab.handlers.arrive(tab.session, None))  # type: ignore[arg-type]
    for one, result in zip(made, tab.results, strict=True):
        assert one and one.completion.ids.equal(result.completion.ids) and one.recipe == result.recipe
        assert result.completion.nats == pytest.approx(one.completion.nats, rel=0.01)
    assert tab.history == [] and tab.shown[tab.tab.cards[0].downloads[".txt"]]["interactive"]
    assert opening(modality, {"text-haar": entries["text-haar"]}) == [None, None]


def test_the_engine_is_made_ready_once_and_waited_for(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ready = [], []

    def slowly() -> None:
        begun.append(1)
        time.sleep(0.2)
        ready.append(1)

    monkeypatch.setattr(streaming, "warm_up", slowly)
    streaming._warm_up.cache_clear()
    text.ask()
    running = text.run()
    assert "Preparing the engine" in next(running)[text.tab.status] and begun == []
    threads = [threading.Thread(target=streaming.make_ready) for _ in range(3)]
    for thread in threads:
        thread.start()
    streaming.make_ready()
    assert ready == [1]
    for thread in threads:
        thread.join()
    list(running)
    assert "Done" in text.status and begun == [1]


def test_settings_that_rule_nothing_out_are_not_passed_on() -> None:
    sampling = SETTINGS.sampling()
    assert (sampling.top_k, sampling.top_p, sampling.min_p) == (None, None, None)


def test_a_tab_without_checkpoints_says_how_to_train_one(tmp_path: Path) -> None:
    page = build_page(tmp_path)
    told = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]
    for name in MODALITIES:
        assert any(f"There is no {name} checkpoint" in line and f"train_{name}.py" in line for line in told)


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a directory"):
        build_page(tmp_path / "nowhere")


def test_a_port_that_is_taken_is_said_in_one_line(page_url: str, tiny_checkpoints: Path) -> None:
    port = int(page_url.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken or not allowed; choose another"):
        open_page(tiny_checkpoints, "127.0.0.1", port, block=False)


def test_only_what_is_wanted_is_worked_on_and_scored(text: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[Session] = []
    monkeypatch.setattr(text.handlers, "score", lambda session: iter([{}][: scored.append(session)]))
    settings = [*text.names, *SETTINGS]
    first = list(answered(text.handlers.press, text.handlers)(text.session, [], "a", "", 0, *settings))
    assert len(first) > 2 and scored == [text.session]
    again = list(answered(lambda session: text.handlers.arrive(session, None), text.handlers)(text.session, []))  # type: ignore[arg-type]
    assert again == [{text.tab.session: text.session}] and len(scored) == 1
