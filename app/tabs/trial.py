"""The blind test without its page: the pair of a visitor, how it is drawn and made, and which votes count."""

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from waveletgpt.app.checkpoints import LoadedCheckpoint
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.recipe import to_word
from waveletgpt.app.results import Entries, Result, grow, load_named, new_result, ongoing
from waveletgpt.app.serving.visitors import Visitors
from waveletgpt.app.votes import Vote
from waveletgpt.app.web.components import default_settings
from waveletgpt.app.web.display import progress
from waveletgpt.app.web.inputs import Settings
from waveletgpt.app.web.transport import Sound, read_sound
from waveletgpt.common.errors import InputError

SHORT = {"text": 60.0, "audio": 2.0, "music": 60.0}
"""Length of the results in the kind's `length_unit`; of other kinds, that of the page."""
SEEDS = 1_000_000
HEARD, PART = 1.5, 0.6
"""Seconds of the new part of a sound that must be heard, or this part of it if that is less."""
READ = 20.0
"""Characters, or other tokens, that are read in a second."""
LONGEST_READ = 15.0
"""Seconds that both results must be visible at most."""
UNKNOWN = "this vote is for another pair than the one that is shown; take a new pair"


@dataclass(frozen=True)
class Pair:
    """Two finished results of one prompt and one seed, and on which side each is."""

    modality: AppModality[Any]
    results: tuple[Result, Result]
    """Of checkpoint A and of checkpoint B."""
    swapped: bool
    """Whether B is on side 1."""
    number: int
    """What a vote calls it by."""

    @property
    def sides(self) -> tuple[Result, Result]:
        """The results in the order that they are shown in."""
        a, b = self.results
        return (b, a) if self.swapped else (a, b)

    def views(self) -> list[str]:
        """What is seen of each side. It does not name a checkpoint, nor mark what both sides share."""
        completions, tokenizers = zip(*((one.completion, one.loaded.tokenizer) for one in self.sides), strict=True)
        axes = self.modality.axes(completions, tokenizers)
        shown = zip(completions, tokenizers, strict=True)
        return [self.modality.view(completion, tokenizer, axes=axes) for completion, tokenizer in shown]

    def sounds(self, folder: Path) -> list[Sound | None]:
        """What is heard of each side, in files that hold no recipe and do not name a checkpoint."""
        if not self.modality.is_heard:
            return [None, None]
        found: list[Sound | None] = []
        for side, result in enumerate(self.sides, 1):
            path = folder / f"{side}.wav"
            self.modality.write(result.completion, result.loaded.tokenizer, path)
            found.append(read_sound(f"{side}", path))
        return found

    def ballot(self, sounds: Sequence[Sound | None]) -> dict[str, Any]:
        """What static/which.js needs: for how many seconds each side must be heard from where on, or read."""
        starts, needs = [0.0, 0.0], [0.0, 0.0]
        for side, (result, sound) in enumerate(zip(self.sides, sounds, strict=True)):
            if sound:
                starts[side] = float(result.facts(self.modality).get("prompt_seconds", 0))
                new = len(sound.samples) / sound.sample_rate - starts[side]
                needs[side] = max(0.0, min(HEARD, PART * new))
            elif not self.modality.is_heard:
                needs[side] = min(result.completion.written / READ, LONGEST_READ / 2)
        heard = self.modality.is_heard
        return {"pair": self.number, "heard": heard, "starts": starts, "needs": needs, "tries": 0}

    def vote(self, given: Any) -> Vote:
        """The vote that a page sends as `{"pair", "side", "seconds"}`; side 0 is no difference.

        Raises:
            InputError: it is for another pair, or something else.
        """
        values = given if isinstance(given, dict) else {}
        side, seconds = values.get("side"), values.get("seconds")
        if values.get("pair") != self.number:
            raise InputError(UNKNOWN)
        if (
            side not in (0, 1, 2)
            or not isinstance(seconds, list)
            or len(seconds) != 2
            or not all(map(_is_time, seconds))
        ):
            raise InputError("this is no vote; press one of the three buttons")
        a, b = self.results
        return Vote(
            datetime.now(UTC).isoformat(timespec="seconds"),
            self.modality.name,
            a.name,
            a.loaded.digest,
            b.name,
            b.loaded.digest,
            a.plan.sampling.seed,
            to_word([a.recipe, b.recipe]),
            self.sides[side - 1].name if side else "",
            self.sides[0].name,
            *(round(float(one), 1) for one in seconds),
        )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 86_400


class Trial:
    """What the server remembers of one visitor's blind test. Handlers change it in place."""

    def __init__(self) -> None:
        self.pair: Pair | None = None
        """The pair that is shown; None before the first and while another is made."""
        self.running = False
        self.stopping = False
        """Whether the work that is running shall end without a pair."""
        self.numbers = 0
        """Number of the last pair."""
        self.ballot: dict[str, Any] | None = None
        """What the page was sent to vote with; None if there is nothing to vote on, or once there is a vote."""
        self.tries = 0
        """Number of votes that could not be kept."""
        self.working = Lock()
        """Held while a vote is kept, or work begins."""
        self.visitor = uuid4().hex
        """Who this is, for the queue."""

    def __deepcopy__(self, _: Any) -> "Trial":
        """A new one: gradio copies the first one for each visitor."""
        return Trial()

    def begin(self) -> bool:
        """Begin to make a pair. While one is being made, stop that instead, and return False."""
        with self.working:
            if self.running:
                self.stopping = True
                return False
            self.pair, self.ballot, self.running, self.stopping = None, None, True, False
            self.numbers += 1
            return True

    def end(self, number: int) -> None:
        """The work on a pair has ended."""
        if number == self.numbers:
            self.running = False

    def vote(self, given: Any) -> tuple[Pair, Vote]:
        """The pair that is shown, and the page's vote on it, as in `Pair.vote`.

        Raises:
            InputError: it is for another pair, the second for this one, or something else.
        """
        if self.pair is None:
            raise InputError(UNKNOWN)
        vote = self.pair.vote(given)
        if self.ballot is None:
            raise InputError("you have voted on this pair; take a new one")
        return self.pair, vote

    def drop(self) -> None:
        """Forget the pair, also one that is being made."""
        with self.working:
            self.pair, self.ballot, self.stopping = None, None, self.running


def drawn(modality: AppModality[Any], entries: Entries, names: Sequence[Any], seed: int) -> list[Result]:
    """Results of two checkpoints that go on from a ready-made beginning or from nothing; nothing is written yet.

    Raises:
        InputError: the names are not those of two different checkpoints.
    """
    loaded = [load_named(modality, entries, name) for name in names]
    a, b = loaded
    if a.digest == b.digest:
        raise InputError("these two checkpoints are the same; choose two different ones")
    length = min(SHORT.get(modality.name, modality.length_on_page.default), modality.length_on_page.highest)
    settings = default_settings(modality, entries.get(b.name)) | {"seed": seed}
    keep = min(max(length * modality.units_each, modality.keep.lowest), modality.keep.highest)
    results = []
    for one, prompt in zip(loaded, beginning(modality, loaded, keep), strict=True):
        count = modality.tokens_for(length, one.tokenizer)
        results.append(new_result(modality, one, prompt, count, Settings(**settings).sampling()))
    return results


def beginning(modality: AppModality[Any], loaded: Sequence[LoadedCheckpoint], keep: float) -> list[Prompt | None]:
    """The end of a ready-made prompt that all checkpoints know the tokens of, or no prompt, by chance."""
    names = ["", *(one.name for one in modality.examples())]
    for name in secrets.SystemRandom().sample(names, len(names)):
        with suppress(InputError):
            return [modality.kept_prompt(None, keep, one.tokenizer, name) for one in loaded]
    return [None for _ in loaded]


def made(
    trial: Trial, modality: AppModality[Any], entries: Entries, names: Sequence[Any], visitors: Visitors
) -> Iterator[str]:
    """Draw a pair, wait in line, and make it: `trial.pair`, unless it is stopped.

    Yields:
        How far it is, for people.

    Raises:
        InputError: it cannot be made.
    """
    results = drawn(modality, entries, names, secrets.randbelow(SEEDS))
    steps = [task.steps for task in ongoing(results)]
    grown: Sequence[Result | None] = results
    with visitors.scheduler.enter(modality.name, trial.visitor, steps) as place:
        yield from visitors.in_line(place, lambda: trial.stopping)
        if trial.stopping:
            return
        told = -math.inf
        with closing(grow(results, turns=place.turns)) as growing:
            for grown in growing:
                visitors.check_reader()
                if trial.stopping:
                    return
                if time.monotonic() - told >= modality.refresh:
                    told = time.monotonic()
                    yield progress([*grown])
    a, b = (one for one in grown if one)
    with trial.working:
        if not trial.stopping:
            trial.pair = Pair(modality, (a, b), bool(secrets.randbelow(2)), trial.numbers)
