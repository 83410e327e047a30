"""The tables of the pages match the reports in results/."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.training.comparing.cells import optimizer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> ModuleType:
    """The module docs/results.py, imported."""
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_what_the_reports_give(results: ModuleType) -> None:
    for path in results.PAGES:
        text = path.read_text(encoding="utf-8")
        assert results.BLOCK.search(text), f"{path.name} has no table"
        assert results.page(text) == text, f"{path.name} is not up to date: python docs/results.py"


def test_every_comparison_is_mentioned_and_has_its_report(results: ModuleType) -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for report in (ROOT / "results").glob("*/report.json"):
        assert f"results/{report.parent.name}/report.md" in text
        assert report.with_name("report.md").is_file()


def test_a_changed_number_changes_the_page(results: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    report = results.report

    def other(name: str) -> dict[str, object]:
        found: dict[str, object] = report(name)
        for variant in found["variants"].values():  # type: ignore[attr-defined]
            variant["final"]["mean"] += 0.1
        return found

    monkeypatch.setattr(results, "report", other)
    assert results.page(text) != text


def test_the_blocks_a_baseline_needs_lie_between_two_measured(results: ModuleType) -> None:
    plain = [(4, 3.0), (8, 2.0), (16, 1.5)]
    assert results.blocks_for(3.5, plain) == "fewer than 4"
    assert results.blocks_for(2.5, plain) == "5.7"  # halfway on a logarithmic scale
    assert results.blocks_for(2.0, plain) == "8.0"
    assert results.blocks_for(1.4, plain) == "none up to 16 reaches it"


def test_every_report_names_its_optimizer_or_was_trained_with_adamw(results: ModuleType) -> None:
    for path in (ROOT / "results").glob("*/report.json"):
        report = results.report(path.parent.name)
        assert optimizer(report) == ("Muon" if report["optimizer"].get("name") == "muon" else "AdamW")


def test_an_unknown_table_is_named(results: ModuleType) -> None:
    with pytest.raises(InputError, match="there is no table nothing; known are summary"):
        results.page("<!-- nothing -->\n<!-- end -->")
