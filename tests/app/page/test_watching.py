"""The tab Training without a browser: what it shows of runs, and what it sends when nothing is new."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from written import rows, write_run, write_sample

from waveletgpt.app.drawing.lines import Plane
from waveletgpt.app.runs import Run, find_runs
from waveletgpt.app.tabs.course import command, course, meter, scale_of
from waveletgpt.app.tabs.runs import Watching, sounds
from waveletgpt.app.web.page import build_page
from waveletgpt.common.curves import Curve


class Tab:
    """The tab and a visitor, who has chosen nothing yet."""

    def __init__(self, directory: Path) -> None:
        with gr.Blocks():
            self.tab = Watching(directory)
        self.shown: dict[Any, Any] = {}
        self.seen: dict[str, Any] = {}

    def show(self, kind: Any = None, a: Any = None, b: Any = None, axis: Any = "step", at: Any = 1) -> dict[Any, Any]:
        """What an event sends."""
        sent = self.tab.show(self.seen, kind or self.tab.kind.value, a, b, axis, at)
        changes = {one: value for one, value in sent.items() if value != gr.skip()}
        self.seen = changes.get(self.tab.seen, self.seen)
        self.shown |= changes
        return changes

    def text(self, component: Any) -> str:
        """What a component shows, without tags."""
        return unescape(re.sub(r"<[^>]*>", "", f"{self.shown[component]}"))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write_run(tmp_path / "haar", "text", "haar", [2.5, 2.0, 1.8])
    write_run(tmp_path / "none", "text", "none", [3.0, 2.5, 2.25, 2.0])
    return tmp_path


def runs(directory: Path) -> dict[str, Run]:
    return {run.name: run for run in find_runs(directory)}


def test_the_meter_says_who_was_sooner() -> None:
    a, b = Curve((10, 20, 30, 40), (4.0, 3.0, 2.5, 2.0)), Curve((10, 20, 30), (3.0, 2.0, 1.0))
    plane, scale = Plane((0, 40), (0, 5)), scale_of("step", 40, "characters")
    said, marks = meter(a, b, "bits", scale, plane)
    assert unescape(re.sub("<.*?>", "", said)) == (
        "B reached A's last loss (2.00 bits) after 20 steps, A after 40 steps: 2.0 times sooner. "
        "A has not reached B's last loss (1.00 bits)."
    )
    assert re.findall(r"line-(\d)[^:]*left:([\d.]+)%", marks) == [("0", "100.00"), ("1", "50.00")]
    said, _ = meter(b, a, "bits", scale, plane)  # the other way round, what is known comes first
    assert said.startswith("<b>A reached B's last loss (2.00 bits)</b> after 20 steps, B after 40 steps")
    late = Curve((10, 20, 40), (4.0, 3.0, 1.5))
    assert "A after 40 steps: <strong>1.2 times sooner" in meter(a, late, "bits", scale, plane)[0]
    assert "no sooner" in meter(a, a, "bits", scale, plane)[0]


@pytest.mark.parametrize(
    ("axis", "highest", "shown"),
    [
        ("step", 640, "640 steps"),
        ("tokens", 900, "0.9 thousand events"),
        ("tokens", 2.5e6, "2.50 million events"),
        ("seconds", 90, "90.0 seconds"),
        ("seconds", 600, "10.0 minutes"),
        ("seconds", 9000, "2.50 hours"),
    ],
)
def test_amounts_are_read_at_a_glance(axis: str, highest: float, shown: str) -> None:
    scale = scale_of(axis, highest, "events")
    assert scale.form.format(highest / scale.each) == shown


def test_the_tab_opens_with_a_baseline_and_its_twin(pair: Path) -> None:
    tab = Tab(pair)
    tab.show()
    watching = tab.tab
    assert [tab.shown[run]["value"] for run in watching.runs] == ["none", "haar"]
    told = tab.text(watching.course)
    assert (
        "B reached A's last loss (2.89 bits per character) after 20 steps, A after 40 steps: 2.0 times sooner" in told
    )
    assert "fair" not in told
    drawn = tab.shown[watching.course]
    assert drawn.count('class="line"') == drawn.count('class="pale"') == 2
    assert "A: baseline · finished at step 40 of 40" in tab.text(watching.states)
    assert "--model.mixer haar" in tab.text(watching.commands)
    assert "A, step 40 of 40" in tab.text(watching.views)
    assert "B, step 30 of 40, the last before 40" in tab.text(watching.views)
    assert "<b>written</b> by none after 40 steps" in tab.text(watching.views)
    assert tab.shown[watching.slider]["maximum"] == tab.shown[watching.slider]["value"] == 4


def test_only_what_is_new_is_sent(pair: Path) -> None:
    tab = Tab(pair)
    tab.show()
    watching, chosen = tab.tab, ("text", "none", "haar")
    assert tab.show(*chosen, at=4) == {}
    assert tab.show(*chosen, "tokens", at=4).keys() == {watching.seen, watching.course}
    moved = tab.show(*chosen, "tokens", at=2)
    assert moved.keys() == {watching.seen, watching.views, watching.chosen}
    assert "by haar after 20 steps" in tab.text(watching.views)
    (pair / "haar" / "metrics.jsonl").write_text(rows([2.5, 2.0, 1.8, 1.7]))
    write_sample(pair / "haar", "text", 40)
    grown = tab.show(*chosen, "tokens", at=2)
    assert grown.keys() == {watching.seen, watching.course, watching.states}  # the slider stays where it is
    assert "B: haar · finished at step 40" in tab.text(watching.states)
    write_run(pair / "later", "text", "shift", [2.0])
    assert tab.show(*chosen, "tokens", at=2).keys() == {watching.seen, *watching.runs}


def test_the_slider_follows_the_newest_sample_if_it_stands_there(pair: Path) -> None:
    tab = Tab(pair)
    tab.show()
    write_sample(pair / "none", "text", 50)
    tab.show("text", "none", "haar", at=4)
    assert tab.shown[tab.tab.slider]["value"] == 5
    assert "A, step 50" in tab.text(tab.tab.views)
    write_sample(pair / "none", "text", 5)  # an earlier step moves the others along
    tab.show("text", "none", "haar", at=3)
    assert tab.shown[tab.tab.slider]["value"] == 4
    assert "A, step 30" in tab.text(tab.tab.views)


def test_what_makes_a_comparison_unfair_is_said(pair: Path) -> None:
    write_run(pair / "seed", "text", "shift", [2.5, 2.0], seed=3, steps=1600)
    write_run(pair / "wide", "text", "shift", [2.5, 2.0], data_digests={"train": "x", "val": "y"})
    found = runs(pair)
    said = course(found["none"], found["seed"], "step")
    assert "Not a fair comparison of the layers: the runs also differ in steps (40 and 1,600), seed (0 and 3)." in said
    assert "times sooner" in said
    said = course(found["none"], found["wide"], "step")
    assert "These losses do not compare: the runs differ in data." in said
    assert "reached" not in said
    assert "the same run" in course(found["none"], found["none"], "step")


def test_runs_without_evaluations_samples_or_command(tmp_path: Path) -> None:
    write_run(tmp_path / "first", "music", "none", [], sample_tokens=0, command="")
    tab = Tab(tmp_path)
    tab.show()
    assert "A has no evaluation yet" in tab.text(tab.tab.course)
    assert "A has no samples: it was trained with --sample-tokens 0" in tab.text(tab.tab.views)
    assert "an older run" in command("A", runs(tmp_path)["first"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    tab.show("text")
    assert "There is no run of text" in tab.text(tab.tab.course) and "broken" in tab.text(tab.tab.course)
    assert tab.shown[tab.tab.runs[0]]["choices"] == []
    tmp_path.rename(tmp_path.with_name("gone"))
    tab.show("text")
    assert "is not a directory" in tab.text(tab.tab.course)


@pytest.mark.parametrize("kind", ["text", "audio", "music"])
def test_samples_of_each_kind_are_seen_and_heard(tmp_path: Path, kind: str) -> None:
    for name in ("none", "haar"):
        write_run(tmp_path / name, kind, name, [3.0, 2.0])
    tab = Tab(tmp_path)
    tab.show()
    view = tab.shown[tab.tab.views]
    assert view.count("sheet" if kind == "text" else "timeline") == 2
    for value in sounds(tab.shown[tab.tab.chosen]):
        names = [card and card["name"] for card in value["cards"]]
        heard = [card and Path(card["file"]["path"]).stat().st_size > 1000 for card in value["cards"]]
    assert names == ([None, None] if kind == "text" else ["A: none, step 20", "B: haar, step 20"])
    assert kind == "text" or heard == [True, True]
    version = value["version"]
    tab.show(kind, "none", "haar", at=1)
    assert tab.shown[tab.tab.views] != view
    assert next(sounds(tab.shown[tab.tab.chosen]))["version"] == version  # what plays goes on


def test_a_damaged_sample_is_one_line(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", "audio", "none", [3.0])
    (path / "samples" / "step-000010.wav").write_bytes(b"RIFF")
    tab = Tab(tmp_path)
    tab.show()
    assert 'class="note wrong"' in tab.shown[tab.tab.views] and "step-000010.wav" in tab.text(tab.tab.views)
    assert next(sounds(tab.shown[tab.tab.chosen]))["cards"] == [None, None]
    assert next(sounds([]))["cards"] == [None, None]


def test_without_runs_there_is_no_such_tab(tiny_checkpoints: Path) -> None:
    assert "Training" not in {getattr(one, "label", "") for one in build_page(tiny_checkpoints).blocks.values()}
