"""The page's tab that shows comparisons."""

import base64
import re
from html import unescape
from pathlib import Path

import pytest

from waveletgpt.app.web.page import build_page
from waveletgpt.app.web.reports import SHIPPED_REPORTS, find_reports, shown
from waveletgpt.common.errors import InputError

TEXT = """# none and haar

| variant | loss |
| :--- | ---: |
| haar | 1.5 |

![Validation loss, "all" of it](loss-steps.svg)

![Speed-up](speedup.svg)

## To keep in mind
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    for name in ("text/rope", "audio"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "report.md").write_text(TEXT.replace("none and haar", name), encoding="utf-8")
        (folder / "loss-steps.svg").write_text(SVG, encoding="utf-8")
    return tmp_path


def test_reports_are_found_by_their_folders(reports: Path) -> None:
    assert list(find_reports(reports)) == ["audio", "text/rope"]


def test_an_overview_comes_first_and_without_links_that_lead_nowhere(reports: Path) -> None:
    (reports / "README.md").write_text("All: [text](text/rope/report.md), [paper](https://arxiv.org/abs/2409.12924)")
    found = find_reports(reports)
    assert list(found) == ["overview", "audio", "text/rope"]
    assert shown(found["overview"]) == ("All: text, [paper](https://arxiv.org/abs/2409.12924)", "")


def test_a_readme_without_reports_is_no_overview(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Nothing yet.", encoding="utf-8")
    assert not find_reports(tmp_path)


def test_a_report_is_shown_with_those_of_its_figures_that_are_there(reports: Path) -> None:
    text, figures = shown(reports / "audio" / "report.md")
    assert text.startswith("# audio\n\n| variant | loss |")
    assert "## To keep in mind" in text
    assert "](" not in text
    (alt, source), *others = re.findall(r'alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', figures)
    assert not others
    assert unescape(alt) == 'Validation loss, "all" of it'
    assert base64.b64decode(source).decode() == SVG


def test_a_figure_of_another_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.svg").write_text(SVG, encoding="utf-8")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "report.md").write_text("![x](../secret.svg)\n", encoding="utf-8")
    assert shown(tmp_path / "in" / "report.md")[1] == ""


def test_a_report_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_bytes(b"\xff\xfe\xff")
    text, told = shown(tmp_path / "report.md")
    assert not text
    assert f"{tmp_path / 'report.md'} cannot be read" in told


def test_without_a_directory_one_line_says_so(tmp_path: Path, tiny_checkpoints: Path) -> None:
    with pytest.raises(InputError, match=r"--results must be one that holds reports of compare\.py"):
        build_page(tiny_checkpoints, tmp_path / "nowhere")


def test_without_reports_the_tab_tells_how_to_make_one(tmp_path: Path, tiny_checkpoints: Path) -> None:
    told = unescape(str(build_page(tiny_checkpoints, tmp_path).get_config_file()))
    assert f"There is no comparison in {tmp_path}" in told
    assert "python training/compare.py" in told


def test_the_shipped_reports_are_found() -> None:
    assert SHIPPED_REPORTS.is_dir()
    overview, *others = find_reports(SHIPPED_REPORTS).values()
    text, _ = shown(overview)
    assert "| `haar` |" in text
    assert len(others) > 1
    for report in others:
        text, figures = shown(report)
        assert "python training/compare.py" in text
        assert "<img" in figures
