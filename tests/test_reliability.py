"""docs/reliability.md: every promise stands beside tests that exist, and the fuzz table is that of the suite."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_every_promise_names_tests_that_exist() -> None:
    promises = [
        line for line in PAGE.splitlines() if line.startswith("| ") and "tests/" in line and "fuzz/run" not in line
    ]
    assert len(promises) > 30
    for line in promises:
        _, _, named, _, _ = line.split("|")
        found = re.findall(r"`([\w/]+\.py)::(\w+)`", named)
        assert found and len(found) == named.count("`") // 2, line
        for path, name in found:
            functions = ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
            assert name in {one.name for one in functions if isinstance(one, ast.FunctionDef)}, f"{path}::{name}"


def test_the_fuzz_table_holds_whole_sums() -> None:
    rows = re.findall(r"run\.py .*` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \| \d+ \|", PAGE)
    assert len(rows) == 4
    for row in rows:
        cases, read, refused, broken = (int(number.replace(",", "")) for number in row)
        assert cases == read + refused + broken and broken == 0
