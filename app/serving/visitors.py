"""Who is there: which answers somebody reads, and what the server may forget.

Gradio works on a call whether or not its answer is read. `Visitors` counts the open streams of answers, in an ASGI
middleware, so that work begins when its stream is open and ends when it is closed. Of gradio it needs the addresses of
the streams, the id of the call that is being worked on, and the sessions that `forgetting` drops;
tests/app/serving/test_visitors.py fails if one of them changes.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Condition
from typing import Any
from urllib.parse import parse_qs

from fastapi.middleware import Middleware
from gradio.context import LocalContext

from waveletgpt.app.serving.scheduling import Place, Scheduler
from waveletgpt.common.errors import InputError

OPENING = 15.0
"""Seconds within which the stream of an answer is opened after the call. Until then the call takes no place in line."""
PATIENCE = 0.5
"""Seconds without a reader after which work ends. A page may close one stream before it opens the next."""
MEMORY = 30.0
"""Seconds for which a visitor who has gone is remembered: a page that lost its connection comes back sooner."""
LINE_EVERY = 1.0
"""Seconds between two lines about the position in the queue."""
CHECK_EVERY = 0.2
"""Seconds between two looks at whether somebody still waits."""

ANSWERS = re.compile(r"/call/(?:v2/)?[^/]+/([^/]+)$|/queue/data$")
PRESENCE = re.compile(r"/heartbeat/([^/]+)$")


class AbandonedError(InputError):
    """Nobody reads the answer."""


class Visitors:
    """The visitors of one page, and their queue."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self.scheduler = scheduler or Scheduler()
        self._changed = Condition()
        self._read: Counter[str] = Counter()
        """Open streams of answers, by call or session."""
        self._present: Counter[str] = Counter()
        """Open pages and clients, by session."""
        self._last_read: dict[str, float] = {}
        """When the last stream of a call or session was closed."""

    # What works on an answer asks this.

    def wait_for_reader(self) -> None:
        """Return once somebody reads the answer that this thread works on. Raises AbandonedError if nobody does."""
        mine = _mine()
        with self._changed:
            if mine and not self._changed.wait_for(lambda: self._is_read(mine), OPENING):
                raise AbandonedError(
                    f"nobody opened the stream of this answer within {OPENING:g} s; open it right after the call"
                )

    def check_reader(self) -> None:
        """Raise AbandonedError if nobody reads the answer that this thread works on any more."""
        mine = _mine()
        with self._changed:
            last = max((self._last_read.get(key, 0.0) for key in mine), default=0.0)
            if mine and not self._is_read(mine) and time.monotonic() - last > PATIENCE:
                raise AbandonedError("nobody reads this answer any more")

    def in_line(self, place: Place, stopping: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Wait until a place is at work, or `stopping`.

        Yields:
            Where it stands, once a second.

        Raises:
            AbandonedError: nobody reads the answer any more.
        """
        told = 0.0
        while not stopping() and not place.wait(0 if not told else CHECK_EVERY):
            self.check_reader()
            if time.monotonic() - told >= LINE_EVERY:
                told = time.monotonic()
                yield str(place)

    def _is_read(self, keys: list[str]) -> bool:
        return any(self._read[key] for key in keys)

    # What the server is built with.

    @property
    def middleware(self) -> Middleware:
        """What counts the readers of answers, around the server."""
        return Middleware(_Streams, visitors=self)

    @asynccontextmanager
    async def forgetting(self, app: Any) -> AsyncIterator[None]:
        """While the server runs, drop what gradio keeps of the sessions of visitors who have gone."""

        async def forget() -> None:
            while True:
                await asyncio.sleep(MEMORY / 6)
                self.forget(app)

        task = asyncio.create_task(forget())
        yield
        task.cancel()

    def forget(self, app: Any) -> None:
        """Drop the sessions without a stream that were used last `MEMORY` seconds ago or earlier. Each takes 0.3 MB."""
        sessions, used = app.state_holder.session_data, app.state_holder.time_last_used
        with self._changed:
            for key in [*sessions]:
                idle = time.time() - used[key].timestamp() if key in used else 0.0
                if not self._read[key] and not self._present[key] and idle > MEMORY:
                    sessions.pop(key)
                    used.pop(key)
            old = time.monotonic() - MEMORY
            self._last_read = {key: last for key, last in self._last_read.items() if last > old}
            self._read, self._present = +self._read, +self._present

    def opened(self, key: str, *, answer: bool) -> None:
        """Count a stream."""
        with self._changed:
            (self._read if answer else self._present)[key] += 1
            self._changed.notify_all()

    def closed(self, key: str, *, answer: bool) -> None:
        """Count a stream no longer."""
        with self._changed:
            (self._read if answer else self._present)[key] -= 1
            if answer:
                self._last_read[key] = time.monotonic()


class _Streams:
    """ASGI middleware that tells `Visitors` of the streams that are open."""

    def __init__(self, app: Any, visitors: Visitors) -> None:
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key, answer = _key(scope) if scope["type"] == "http" and scope["method"] == "GET" else ("", False)
        if not key:
            await self.app(scope, receive, send)
            return
        self.visitors.opened(key, answer=answer)
        try:
            await self.app(scope, receive, send)
        finally:
            self.visitors.closed(key, answer=answer)


def _key(scope: Any) -> tuple[str, bool]:
    """The call or session of a stream, and whether it is one of answers; "" if the request is for something else."""
    if found := ANSWERS.search(scope["path"]):
        return found[1] or parse_qs(scope["query_string"].decode()).get("session_hash", [""])[0], True
    found = PRESENCE.search(scope["path"])
    return (found[1] if found else ""), False


def visitor() -> str:
    """The session of the call that this thread works on; "" outside of calls."""
    request = LocalContext.request.get(None)
    return getattr(request, "session_hash", None) or ""


def _mine() -> list[str]:
    """Call and session that this thread works on; empty outside of calls."""
    call = LocalContext.event_id.get(None)
    return [call, visitor()] if call else []
