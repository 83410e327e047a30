"""Lines, places and turns, with work that is made of short sleeps."""

import threading
import time
from collections.abc import Iterator

import pytest

from waveletgpt.app.serving import scheduling
from waveletgpt.app.serving.scheduling import AT_WORK, QueueFullError, Scheduler, Turn, in_words, ordinal


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "SLICE", 0.01)


def work(turn: Turn, log: list[str], name: str, steps: int) -> threading.Thread:
    """A thread that does a step in a millisecond."""

    def all_steps() -> Iterator[int]:
        for step in range(steps):
            time.sleep(0.001)
            yield step

    def run() -> None:
        for _ in turn.slices(all_steps()):
            log.append(name)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_no_more_models_compute_at_once_than_there_are_cores() -> None:
    scheduler, now, most = Scheduler(at_once=2), [0], [0]
    lock = threading.Lock()

    def steps() -> Iterator[int]:
        for step in range(20):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.001)
            with lock:
                now[0] -= 1
            yield step

    turns = [turn for _ in range(3) for turn in scheduler.turns("text", [20, 20])]
    done: list[int] = []
    threads = [threading.Thread(target=lambda turn=turn: done.extend(turn.slices(steps()))) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [2] and len(done) == 6 * 20


def test_a_short_wish_is_not_kept_waiting_by_long_ones() -> None:
    scheduler, log = Scheduler(at_once=1), list[str]()
    long = [work(scheduler.turns("audio", [400])[0], log, "audio", 400) for _ in range(3)]
    while len(log) < 30:
        time.sleep(0.001)
    before = len(log)
    work(scheduler.turns("text", [40])[0], log, "text", 40).join(60)
    beside = log[before:]
    assert beside.count("text") == 40 and beside.count("audio") < 400
    for thread in long:
        thread.join(60)
    assert log.count("audio") == 1200


def test_every_kind_goes_on_while_short_wishes_keep_coming() -> None:
    scheduler, log = Scheduler(at_once=1), list[str]()
    long = work(scheduler.turns("audio", [60])[0], log, "audio", 60)
    while long.is_alive():
        work(scheduler.turns("text", [20])[0], log, "text", 20).join(60)
    assert log.count("audio") == 60


def test_a_turn_that_is_stopped_ends_and_gives_its_core_on() -> None:
    scheduler, log = Scheduler(at_once=1), list[str]()
    first, second, third = (scheduler.turns("text", [10_000])[0] for _ in range(3))
    threads = [work(turn, log, name, 10_000) for turn, name in ((first, "1"), (second, "2"))]
    while not {"1", "2"} <= {*log}:
        time.sleep(0.001)
    first.stop()
    threads[0].join(5)
    assert not threads[0].is_alive() and threads[1].is_alive()
    waiting = work(third, log, "3", 10_000)
    for turn in (third, second):
        turn.stop()
    for thread in (waiting, threads[1]):
        thread.join(5)
        assert not thread.is_alive()


def test_positions_move_up_and_the_wait_is_told() -> None:
    scheduler = Scheduler(at_once=2)
    scheduler.speeds["audio"] = 1000.0
    places = [scheduler.enter("audio", str(number), [4000, 4000]) for number in range(AT_WORK + 3)]
    assert [place.position for place in places] == [0] * AT_WORK + [1, 2, 3]
    assert places[0].wait(0) and not places[-1].wait(0)
    # Four wishes of 8 s share two cores, so the first ends after 16 s; the others end then too.
    assert str(places[-3]) == "1st in line for audio, about 16 s to go ..."
    text = scheduler.enter("text", "0", [1])
    assert text.position == 0 and places[-3].wait_left == pytest.approx(32)  # half of the turns are for text
    text.leave()
    places[1].leave()
    assert [place.position for place in places[-3:]] == [0, 1, 2]
    assert str(places[-3]) == "It is your turn."
    ahead = threading.Timer(0.05, places[0].leave)
    ahead.start()
    assert places[-2].wait(20)
    ahead.join()


def test_a_visitor_has_one_place_in_a_line() -> None:
    scheduler = Scheduler(places=AT_WORK + 2)
    mine = [scheduler.enter("text", "me", [1]) for _ in range(3)]
    others = [scheduler.enter("text", str(number), [1]) for number in range(AT_WORK + 1)]
    assert [place.position for place in mine] == [0, 3, 4]
    assert [place.position for place in others] == [0] * (AT_WORK - 1) + [1, 2]
    assert scheduler.enter("audio", "me", [1]).position == 0
    mine[0].leave()
    assert [place.position for place in others][-2:] == [0, 1] and mine[1].position == 2


def test_full_is_said_with_the_wait() -> None:
    scheduler = Scheduler(places=AT_WORK)
    places = [scheduler.enter("music", str(number), [2000, 2000]) for number in range(AT_WORK)]
    with pytest.raises(QueueFullError, match=r"the queue for music is full, with 4 in it; try again in about \d+ s$"):
        scheduler.enter("music", "late", [1])
    for _ in range(AT_WORK):
        scheduler.enter("music", "0", [1])
    with pytest.raises(QueueFullError, match="too many of your calls wait in the queue for music"):
        scheduler.enter("music", "0", [1])
    with places[0]:
        pass
    assert scheduler.lines["music"][-1].visitor == "0"


def test_words() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
    )
    assert (in_words(0.2), in_words(8.4), in_words(300)) == ("about 1 s", "about 8 s", "about 5 minutes")
