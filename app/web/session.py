"""What the server remembers of one visitor's tab."""

from collections.abc import Callable
from threading import Lock
from typing import Any
from uuid import uuid4

from waveletgpt.app.instruments.scales import Scalogram
from waveletgpt.app.results import Result, Results

CARDS = ("a", "b")


class Session:
    """The results on both cards, and the work that is wanted or running. Handlers change it in place."""

    def __init__(self) -> None:
        self.results: Results = [None for _ in CARDS]
        """In the order of `CARDS`."""
        self.wanted: Callable[[], Results] | None = None
        """Makes the results to grow next; None if nothing is wanted. It may raise InputError."""
        self.arriving = False
        """Whether what is wanted or running is what the tab opens with, which a press replaces rather than stops."""
        self.opened = False
        """Whether what is wanted or running was opened from a recipe, whose prompt and settings go into the prompt
        bar."""
        self.presses = 0
        """Number of times that something was wanted."""
        self.version = 0
        """Another one for each new sound to play, so that a longer sound is told from a new one."""
        self.note = ""
        """What people should know about how the prompt was read."""
        self.running = False
        """Whether the work waits in line or is being done."""
        self.stopping = False
        """Whether the work that is running shall end with what there is."""
        self.marking = ""
        """Whose surprise marks the results: "own", "other", or none."""
        self.scored: Results = [None for _ in CARDS]
        """What was scored last by the other card's model: `results`, or what they were before."""
        self.looked: Any = None
        """What the page says of the token to go on from."""
        self.scaled: int | None = None
        """The card whose time scales are shown; 2 for the prompt."""
        self.prompted: Result | None = None
        """The prompt whose time scales are shown, as a result of which nothing is written."""
        self.layer = 1
        """The layer of which they are shown."""
        self.scalogram: tuple[Result, Scalogram] | None = None
        """A result and its scales."""
        self.compared = False
        """Whether results are compared with the training data."""
        self.working = Lock()
        """Held while work is running, so that a new press begins once the work before it has ended."""
        self.visitor = uuid4().hex
        """Who this is, for the queue."""

    def __deepcopy__(self, _: Any) -> "Session":
        """A new session: gradio copies the first one for each visitor."""
        return Session()

    def want(self, results: Callable[[], Results], *, opened: bool = False) -> None:
        """Ask for work. What is running ends first."""
        self.wanted, self.arriving, self.opened = results, False, opened
        self.presses += 1
        self.stop()

    def stop(self) -> None:
        """Let the work that is running end with what there is."""
        self.stopping = self.running
