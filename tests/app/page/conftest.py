"""Fixtures of the tests of the page's handlers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tab import Tab

from waveletgpt.app import results, streaming
from waveletgpt.models.generation import Step, generate


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """No test waits for the engine to be ready, except the test of that wait."""
    streaming.make_ready()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiny models write less than a thousand tokens a second, and results are read often. Counts the steps."""
    steps: list[int] = []

    def slow(*arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(*arguments, **settings):
            time.sleep(0.002)
            steps.append(1)
            yield step

    monkeypatch.setattr(streaming, "generate", slow)
    monkeypatch.setattr(results.grow, "__kwdefaults__", {"every": 0.02})
    return steps


@pytest.fixture
def text(tiny_checkpoints: Path) -> Tab:
    return Tab("text", tiny_checkpoints)


@pytest.fixture
def music(tiny_checkpoints: Path) -> Tab:
    return Tab("music", tiny_checkpoints)
