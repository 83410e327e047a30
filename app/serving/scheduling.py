"""Who computes when: a line for each kind of data, a place for each visitor, and turns of a fraction of a second.

A `Place` is a visitor's wish in the line of its kind. The first `AT_WORK` places of a line are at work, the rest wait.
A `Turn` belongs to one model of a wish. As many turns run at once as there are cores; after a `SLICE` each gives its
core to the next. Three of four go to the wish with the least left to do, so a text is hardly kept waiting by a long
sound. The fourth goes round all kinds, so nothing is put off for ever.
"""

import heapq
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from threading import Condition
from types import TracebackType
from typing import TypeVar

from waveletgpt.common.errors import InputError

T = TypeVar("T")

SLICE = 0.2
"""Seconds that a model computes before it gives its core on, if others wait for one."""
ROUND = 4
"""All turns but one in so many go to the shortest wish."""
AT_WORK = 4
"""Wishes of one kind that take turns. More would each become slower, and need more memory."""
PLACES = 32
"""Places in the line of each kind."""
GUESS = 2000.0
"""Steps a second of a model of which none is measured yet."""
NEW = 0.3
"""Weight of a new measurement of the speed."""


class QueueFullError(InputError):
    """There is no place left in a line."""


class Scheduler:
    """The lines of all kinds of data, and the cores. Safe to call from any thread.

    Args:
        places: places in each line.
        at_once: models that compute at the same time; by default the number of cores, but at least the two of a pair.
    """

    def __init__(self, places: int = PLACES, at_once: int | None = None) -> None:
        self.places = places
        self.at_once = at_once or max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self.changed = Condition()
        self.lines: defaultdict[str, list[Place]] = defaultdict(list)
        self.behind: defaultdict[str, list[Place]] = defaultdict(list)
        """Places of visitors who are in the line already: they join it one after another."""
        self.speeds: defaultdict[str, float] = defaultdict(lambda: GUESS)
        """Steps a second by kind, as measured."""
        self._running: set[Turn] = set()
        self._waiting: list[Turn] = []
        self._given = 0
        self._given_to: defaultdict[str, int] = defaultdict(int)
        """Number of the last turn of each kind."""

    def enter(self, kind: str, visitor: str, steps: Sequence[int]) -> "Place":
        """Take a place at the end of a line; behind a visitor's own place if there is one.

        Args:
            kind: name of the line.
            visitor: who takes it; each visitor has one place in a line.
            steps: number of steps of each model.

        Raises:
            QueueFullError: the line is full.
        """
        with self.changed:
            line, behind = self.lines[kind], self.behind[kind]
            mine = any(place.visitor == visitor for place in line)
            if mine and len(behind) >= self.places:
                raise QueueFullError(f"too many of your calls wait in the queue for {kind}; let some end first")
            if not mine and len(line) >= self.places:
                wait = in_words(line[-1].wait_left)
                raise QueueFullError(f"the queue for {kind} is full, with {len(line)} in it; try again in {wait}")
            place = Place(self, kind, visitor, self.turns(kind, steps))
            (behind if mine else line).append(place)
            return place

    def turns(self, kind: str, steps: Sequence[int]) -> "tuple[Turn, ...]":
        """Turns for the models of one wish, without a place in a line.

        Args:
            kind: kind of work, which tells how long a step takes.
            steps: number of steps of each model.
        """
        wish: list[Turn] = []
        wish += (Turn(self, kind, count, wish) for count in steps)
        return tuple(wish)

    def _leave(self, place: "Place") -> None:
        with self.changed:
            for line in (self.lines[place.kind], self.behind[place.kind]):
                if place in line:
                    line.remove(place)
            for waiting in self.behind[place.kind]:
                if waiting.visitor == place.visitor:
                    self.behind[place.kind].remove(waiting)
                    self.lines[place.kind].append(waiting)
                    break
            self.changed.notify_all()

    def _take(self, turn: "Turn") -> bool:
        """Wait for a core. Returns False if the turn was stopped."""
        with self.changed:
            self._waiting.append(turn)
            self._give()
            self.changed.wait_for(lambda: turn in self._running or turn.stopped)
            return not turn.stopped

    def _pass_on(self, turn: "Turn") -> bool:
        """Let others compute, and wait for the core again. Returns False if the turn was stopped."""
        with self.changed:
            turn.measure()
            if not self._waiting:
                turn.begin()
                return not turn.stopped
            self._running.discard(turn)
            return self._take(turn)

    def _end(self, turn: "Turn") -> None:
        with self.changed:
            if turn in self._running:
                turn.measure()
            self._running.discard(turn)
            self._waiting = [one for one in self._waiting if one is not turn]
            self._give()

    def _give(self) -> None:
        while self._waiting and len(self._running) < self.at_once:
            self._given += 1
            if self._given % ROUND:
                turn = min(self._waiting, key=lambda one: (one.wish_left, one.number))
            else:
                turn = min(self._waiting, key=lambda one: (self._given_to[one.kind], one.number))
            turn.number = self._given_to[turn.kind] = self._given
            self._waiting.remove(turn)
            self._running.add(turn)
            turn.begin()
        self.changed.notify_all()


class Turn:
    """One model's right to compute, for as long as it has steps to do."""

    def __init__(self, scheduler: Scheduler, kind: str, steps: int, wish: "list[Turn]") -> None:
        self.scheduler, self.kind, self.left, self.wish = scheduler, kind, steps, wish
        self.stopped = False
        self.number = 0
        """Number of its last turn, of those that were given to all; 0 before the first."""
        self._begun = self._until = 0.0
        self._steps = 0

    @property
    def wish_left(self) -> float:
        """Seconds that one core needs for what is left of the wish."""
        return sum(max(0, turn.left) for turn in self.wish) / self.scheduler.speeds[self.kind]

    def slices(self, steps: Iterable[T]) -> Generator[T, None, None]:
        """Go through `steps`, the work, in slices: wait for a core at the beginning, and again after each slice.

        Ends early if it is stopped. Closing the iterator gives the core back.
        """
        try:
            if not self.scheduler._take(self):
                return
            for step in steps:
                yield step
                self.left -= 1
                self._steps += 1
                if self.stopped or (time.monotonic() >= self._until and not self.scheduler._pass_on(self)):
                    return
        finally:
            self.scheduler._end(self)

    def stop(self) -> None:
        """End the work after its present step."""
        with self.scheduler.changed:
            self.stopped = True
            self.scheduler.changed.notify_all()

    def begin(self) -> None:
        """Begin a slice."""
        self._begun = time.monotonic()
        self._until, self._steps = self._begun + SLICE, 0

    def measure(self) -> None:
        """Measure the speed of the slice that ends."""
        seconds = time.monotonic() - self._begun
        if self._steps and seconds:
            speeds = self.scheduler.speeds
            known, new = speeds.get(self.kind), self._steps / seconds
            speeds[self.kind] = new if known is None else (1 - NEW) * known + NEW * new


class Place:
    """A wish in the line of its kind. Leave it, or use it in a `with` block."""

    def __init__(self, scheduler: Scheduler, kind: str, visitor: str, turns: tuple[Turn, ...]) -> None:
        self.scheduler, self.kind, self.visitor, self.turns = scheduler, kind, visitor, turns

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    @property
    def position(self) -> int:
        """How many have to finish before this wish is at work; 0 if it is."""
        with self.scheduler.changed:
            line = self.scheduler.lines[self.kind]
            before = line.index(self) if self in line else len(line) + self.scheduler.behind[self.kind].index(self)
            return max(0, before - AT_WORK + 1)

    @property
    def wait_left(self) -> float:
        """Seconds until this wish is at work, if those before it share the cores equally and nobody leaves."""
        scheduler, position = self.scheduler, self.position
        with scheduler.changed:
            line = scheduler.lines[self.kind]
            ends = [place.turns[0].wish_left for place in line[:AT_WORK]]
            heapq.heapify(ends)
            seconds = clock = 0.0
            for place in [*line[AT_WORK:], *scheduler.behind[self.kind]][:position]:
                end = heapq.heappop(ends)
                seconds, clock = seconds + (end - clock) * AT_WORK, end
                heapq.heappush(ends, end + place.turns[0].wish_left)
            busy = sum(bool(line) for line in scheduler.lines.values())
            return seconds * max(1, busy) / scheduler.at_once

    def wait(self, seconds: float) -> bool:
        """Wait at most so long to be at work. Returns whether it is."""
        with self.scheduler.changed:
            return self.scheduler.changed.wait_for(lambda: not self.position, seconds)

    def leave(self) -> None:
        """End the wish: stop its models and give the place to the next."""
        for turn in self.turns:
            turn.stop()
        self.scheduler._leave(self)

    def __str__(self) -> str:
        """Where it stands, for the visitor."""
        position = self.position
        if not position:
            return "It is your turn."
        return f"{ordinal(position)} in line for {self.kind}, {in_words(self.wait_left)} to go ..."


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in range(11, 14) else "th"
    return f"{number}{ending}"


def in_words(seconds: float) -> str:
    """A wait, such as "about 8 s"."""
    return f"about {max(1, round(seconds))} s" if seconds < 100 else f"about {round(seconds / 60)} minutes"
