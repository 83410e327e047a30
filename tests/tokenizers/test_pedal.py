import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.tokenizers.piano.pedal import held_ends


def array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def reference(ends: list[int], events: list[tuple[int, int]]) -> list[int]:
    """The expected notes, computed event by event, like a synthesizer."""
    events = sorted(events, key=lambda event: event[0])
    last = max([*ends, *(time for time, _ in events)], default=0)
    sounding = []
    for end in ends:
        down = False
        for time, value in events:
            if time > end:
                break
            down = value >= 64
        releases = [time for time, value in events if time > end and value < 64]
        sounding.append((min(releases) if releases else last) if down else end)
    return sounding


def test_a_note_under_the_pedal_sounds_until_the_pedal_comes_up() -> None:
    ends = held_ends(array(5, 15, 25), array(10, 20), array(127, 0))
    assert ends.tolist() == [5, 20, 25]


def test_half_of_the_range_is_down() -> None:
    assert held_ends(array(5), array(0, 9), array(63, 0)).tolist() == [5]
    assert held_ends(array(5), array(0, 9), array(64, 0)).tolist() == [9]


def test_a_release_between_two_presses_is_heard() -> None:
    assert held_ends(array(5), array(0, 9, 9, 20), array(127, 0, 127, 0)).tolist() == [9]


def test_a_pedal_that_never_comes_up_holds_to_the_last_event() -> None:
    assert held_ends(array(5, 30), array(0), array(127)).tolist() == [30, 30]
    assert held_ends(array(5), array(0, 40), array(127, 100)).tolist() == [40]


def test_nothing_to_hold_and_no_pedal() -> None:
    assert held_ends(array(), array(0), array(127)).tolist() == []
    assert held_ends(array(3), array(), array()).tolist() == [3]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 30), max_size=12),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 20, 63, 64, 127])), max_size=12),
)
def test_equals_playing_event_after_event(ends: list[int], events: list[tuple[int, int]]) -> None:
    times, values = array(*(time for time, _ in events)), array(*(value for _, value in events))
    assert held_ends(array(*ends), times, values).tolist() == reference(ends, events)
