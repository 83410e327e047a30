"""The page's tab that says why: what it makes of the reports of comparisons."""

import base64
import json
import re
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from waveletgpt.app.drawing.lines import LOWEST, NAMES, spread
from waveletgpt.app.tabs.reports import SHIPPED_REPORTS, Report, find_reports, page
from waveletgpt.app.tabs.why import explorer, lead
from waveletgpt.app.web.page import build_page
from waveletgpt.common.errors import InputError

TEXT = """# none and haar

| variant | loss |
| :--- | ---: |
| haar | 1.5 |

![Validation loss, "all" of it](loss-steps.svg)

![Speed-up](speedup.svg)

## To keep in mind

Costs $1 {a} <script>alert(1)</script> [there](other/x.md) [far](https://arxiv.org/abs/2409.12924)
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


def variant(mixer: str, *runs: list[float], p: float | None = None, **changes: Any) -> dict[str, Any]:
    """A variant of a report, evaluated after 10, 20, 30 and 40 steps."""
    return {
        "mixer": mixer,
        "changes": changes,
        "parameters": 1_205_504,
        "runs": [{"seed": seed, "steps": [10, 20, 30, 40], "val_loss": losses} for seed, losses in enumerate(runs)],
        "difference": {"p": p},
        "speedup": {"steps": {"value": 2.0, "low": 1.5, "high": 2.5}},
        "step_time": {"ratio": 1.03},
    }


def facts(**variants: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"modality": "text", "source": "85 novels, 1840-1920", "unit": "bits per character"},
        "model": {"positions": "rope"},
        "steps": 40,
        "tokens": 2_048_000,
        "seeds": [0, 1],
        "baseline": "none",
        "variants": {"none": variant("none", [4.0, 3.0, 2.5, 2.0], [4.0, 3.2, 2.4, 2.2]), **variants},
    }


HAAR = variant("haar", [3.0, 2.0, 1.5, 1.0], [3.2, 2.2, 1.5, 1.0], p=0.01)
SLOW = variant("shift", [4.0, 3.0, 2.5, 2.0], [4.0, 3.5, 3.2, 3.0], p=0.3)


def write(folder: Path, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "report.md").write_text(TEXT, encoding="utf-8")
    (folder / "loss-steps.svg").write_text(SVG, encoding="utf-8")


def words(html: str) -> str:
    return unescape(re.sub("<[^>]*>", "", html))


def test_reports_are_found_those_with_the_main_layers_first_and_then_the_longest(tmp_path: Path) -> None:
    write(tmp_path / "a", facts(ema=variant("ema", [3.0, 2.0, 1.5, 1.0])) | {"tokens": 9_000_000})
    write(tmp_path / "b/short", facts(haar=HAAR) | {"tokens": 512_000})
    write(tmp_path / "c", facts(haar=HAAR))
    write(tmp_path / "only-the-baseline", facts())
    assert list(find_reports(tmp_path)) == ["c", "b/short", "a"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": {"modality": "text"}}'])
def test_a_file_that_is_no_report_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"report\.json is no report of compare\.py"):
        find_reports(tmp_path)


def test_a_report_is_named_by_its_settings() -> None:
    content = facts(haar=HAAR, deep=variant("none", [4.0, 3.0, 2.5, 2.0], n_layer=12, positions="learned"))
    assert Report(Path(), content).name == (
        "Text, 2 million tokens, rotary positions: haar, baseline with 12 blocks and learned positions"
    )
    content |= {"baseline": "haar", "tokens": 12_800}
    assert Report(Path(), content).name.startswith("Text, 12,800 tokens, rotary positions: baseline,")
    assert Report(Path(), content).name.endswith(" against haar")


def test_speed_ups_at_the_baseline_s_final_loss_are_those_of_the_shipped_reports() -> None:
    compared = 0
    for report in find_reports(SHIPPED_REPORTS).values():
        for name in report.others:
            told, found = report.facts["variants"][name]["speedup"]["steps"], report.reached(name, 0.0)
            assert found.runs == told["reached"]
            if found.runs == found.seeds:
                assert found.speedup == pytest.approx(told["value"], rel=1e-12)
                compared += 1
    assert compared > 50


def test_between_evaluations_steps_are_interpolated_and_seeds_have_a_geometric_mean() -> None:
    report = Report(Path(), facts(haar=HAAR, shift=SLOW))
    reached = report.reached("haar", 0.0)
    assert reached.steps == pytest.approx(20.0)
    assert reached.speedup == pytest.approx(2.0)
    assert report.reached("none", 0.0).speedup == 1
    once = report.reached("shift", 0.0)
    assert (once.runs, once.seeds, once.steps, once.speedup) == (1, 2, None, None)
    beyond = report.reached("haar", -0.3)
    assert beyond.steps and beyond.speedup is None


def test_the_sentence_claims_only_what_can_be_told_from_chance() -> None:
    sooner = words(lead(Report(Path(), facts(haar=HAAR))))
    assert "on 85 novels, over 2 random starts (seeds) of 2 million characters each" in sooner
    assert "haar reached the final loss of the baseline 2.00 times sooner (95 % interval 1.50 to 2.50)" in sooner
    assert "no sooner than chance may explain (2.00 times as fast" in words(lead(Report(Path(), facts(shift=SLOW))))
    shipped = find_reports(SHIPPED_REPORTS)
    assert "haar reached the final loss of the baseline 1.41 times sooner" in words(lead(shipped["text-rope-long"]))
    assert "no sooner than chance may explain (0.96 times" in words(lead(shipped["music-rope-long"]))


def test_the_slider_starts_at_the_baseline_s_final_loss() -> None:
    drawn = explorer(Report(Path(), facts(haar=HAAR, shift=SLOW)))
    stops = re.findall(r'<div class="stop" data-goal="([^"]*)">(.*?)</div></div>', drawn)
    start = int(re.search(r' value="(\d+)"', drawn)[1])  # type: ignore[index]
    assert len(stops) == 101
    assert stops[start][0] == "3.03 yes/no questions per character"  # 2.1 nats
    answer = words(re.search(r'<output class="answer">(.*?)</output>', drawn)[1])  # type: ignore[index]
    assert answer == (
        "To get down to 3.03 questions the baseline needs 40 steps, haar 20: 2.0 times sooner; "
        "token shift gets there in 1 of 2 runs."
    )
    beyond = words(stops[start + 10][1])
    assert re.search(r"To get down to 2\.\d\d questions the baseline never gets there, haar needs 2\d steps;", beyond)


def test_the_chart_names_its_lines_and_marks_where_they_reach_the_goal() -> None:
    drawn = explorer(Report(Path(), facts(haar=HAAR, shift=SLOW)))
    marks = re.search(r'<div class="marks" aria-hidden="true">(.*?)</div>', drawn)[1]  # type: ignore[index]
    assert re.findall(r'class="dot (line-\d)" style="left:([\d.]+)%', marks) == [
        ("line-0", "100.00"),
        ("line-1", "50.00"),
    ]
    assert re.findall(r'class="name line-\d"[^>]*>([^<]*)<', drawn) == ["baseline", "haar", "token shift"]
    assert "Validation loss in bits per character" in drawn
    assert 'aria-label="Loss over 40 training steps' in drawn


def test_names_of_lines_do_not_overlap() -> None:
    places = spread([96.0, 20.0, 95.0, 97.0])
    assert [places[i] for i in (1, 2, 0, 3)] == sorted(places)
    assert places[1] == 20
    ordered = sorted(places)
    assert all(below - above >= NAMES - 1e-9 for above, below in pairwise(ordered))
    assert max(places) <= LOWEST


def test_a_page_has_tables_that_scroll_and_the_figures_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "audio", facts(haar=HAAR))
    shown = page(tmp_path / "audio" / "report.md", 'a "b"')
    assert "none and haar" not in shown
    assert '<div class="wide" tabindex="0" role="region" aria-label="Table: a &quot;b&quot;"><table>' in shown
    assert "<h2>To keep in mind</h2>" in shown
    assert "<script>" not in shown and "there" in shown and "other/x.md" not in shown
    assert '<a href="https://arxiv.org/abs/2409.12924">far</a>' in shown
    assert not set("${}`\\") & set(shown)  # gradio would run them
    (alt, source), *others = re.findall(r'alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', shown)
    assert not others
    assert unescape(alt) == 'Validation loss, "all" of it'
    assert base64.b64decode(source).decode() == SVG


def test_a_figure_of_another_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.svg").write_text(SVG, encoding="utf-8")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "report.md").write_text("![x](../secret.svg)\n", encoding="utf-8")
    assert "base64" not in page(tmp_path / "in" / "report.md", "")


def test_links_of_the_overview_lead_to_reports_on_the_page() -> None:
    shown = page(SHIPPED_REPORTS / "README.md", "All")
    linked = re.findall(r'<a href="#why" data-report="([^"]*)">', shown)
    assert "text-rope-long" in linked
    assert set(linked) <= set(find_reports(SHIPPED_REPORTS))
    assert "docs/results.md" in shown and '.md">' not in shown


def test_a_page_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_bytes(b"\xff\xfe\xff")
    assert f"{tmp_path / 'report.md'} cannot be read" in page(tmp_path / "report.md", "")


def test_without_a_directory_one_line_says_so(tmp_path: Path, tiny_checkpoints: Path) -> None:
    with pytest.raises(InputError, match=r"--results must be one that holds reports of compare\.py"):
        build_page(tiny_checkpoints, tmp_path / "nowhere")


def test_without_reports_the_tab_tells_how_to_make_one(tmp_path: Path, tiny_checkpoints: Path) -> None:
    told = unescape(str(build_page(tiny_checkpoints, tmp_path).get_config_file()))
    assert f"There is no comparison in {tmp_path}" in told
    assert "python training/compare.py" in told


def test_the_shipped_reports_are_shown_under_different_names() -> None:
    found = find_reports(SHIPPED_REPORTS)
    assert len({report.name for report in found.values()}) == len(found) > 10
    for report in found.values():
        shown = page(report.folder / "report.md", report.name)
        assert "python training/compare.py" in shown
        assert shown.count('<img class="plot"') == 4
        assert len(explorer(report)) < 100_000
