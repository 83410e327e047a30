"""Tiny models that write as slowly as real ones may."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from waveletgpt.app import streaming
from waveletgpt.models.generation import Step, generate


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Let every step take at least `seconds`. The list that is returned grows by one with each."""
    steps: list[int] = []

    def slow(*arguments: Any, **settings: Any) -> Iterator[Step]:
        for step in generate(*arguments, **settings):
            time.sleep(seconds)
            steps.append(1)
            yield step

    monkeypatch.setattr(streaming, "generate", slow)
    return steps
