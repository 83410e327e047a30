"""The generation engine, made ready once: loading or compiling it takes seconds the first time."""

from functools import cache
from threading import Lock

from waveletgpt.models.generation import warm_up

_one_at_a_time = Lock()


def make_ready() -> None:
    """Make the engine ready, or wait for whoever is at it."""
    with _one_at_a_time:
        _warm_up()


def is_ready() -> bool:
    """Whether there is nothing left to wait for."""
    return _warm_up.cache_info().currsize > 0


@cache
def _warm_up() -> None:
    warm_up()
