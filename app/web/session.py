"""What the server remembers of one visitor's tab."""

from collections.abc import Callable
from dataclasses import dataclass, field

from waveletgpt.app.results import Results

CARDS = ("a", "b")


@dataclass
class Session:
    """The results on both cards, and the work that is wanted or running. Handlers change it in place."""

    results: Results = field(default_factory=lambda: [None, None])
    """In the order of `CARDS`."""
    wanted: Callable[[], Results] | None = None
    """Makes the results to grow next; None if nothing is wanted. It may raise InputError."""
    arriving: bool = False
    """Whether what is wanted or running is what the tab opens with, which a press replaces rather than stops."""
    opened: bool = False
    """Whether what is wanted or running was opened from a recipe, whose prompt and settings go into the prompt bar."""
    presses: int = 0
    """Number of times that something was wanted."""
    version: int = 0
    """Another one for each new sound to play, so that a longer sound is told from a new one."""
    note: str = ""
    """What people should know about how the prompt was read."""
    running: bool = False
    stopping: bool = False
    """Whether the work that is running shall end with what there is."""

    def want(self, results: Callable[[], Results], *, opened: bool = False) -> None:
        """Ask for work. What is running ends first."""
        self.wanted, self.arriving, self.opened = results, False, opened
        self.presses += 1
        self.stop()

    def stop(self) -> None:
        """Let the work that is running end with what there is."""
        self.stopping = self.running
