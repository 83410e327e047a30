"""Fixtures of the tests of the page's handlers."""

from pathlib import Path

import pytest
from slow import slow_down
from tab import Tab

from waveletgpt.app import results, streaming


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """No test waits for the engine to be ready, except the test of that wait."""
    streaming.make_ready()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiny models write less than a thousand tokens a second, and results are read often. Counts the steps."""
    steps = slow_down(monkeypatch, 0.002)
    monkeypatch.setattr(results.grow, "__kwdefaults__", {"every": 0.02})
    return steps


@pytest.fixture
def text(tiny_checkpoints: Path) -> Tab:
    return Tab("text", tiny_checkpoints)


@pytest.fixture
def music(tiny_checkpoints: Path) -> Tab:
    return Tab("music", tiny_checkpoints)
