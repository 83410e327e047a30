"""Jobs on several processes. A process that dies fails only its own job."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Self, TypeVar

import torch

from waveletgpt.common.errors import InputError

J = TypeVar("J")
R = TypeVar("R")

CONTEXT = multiprocessing.get_context("spawn")  # forked processes hang: torch and the tokenizers start threads
READY = "ready"
NO_MORE: Any = object()


class Workers:
    """Up to `limit` worker processes, started when there are jobs for them. With limit 0, this process does the jobs.

    The workers end with the `with` block, and whenever this process ends, even if it is killed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _terminate(self._idle)

    def spread(self, function: Callable[[J], R], jobs: Iterable[J]) -> Generator[tuple[J, R | InputError], None, None]:
        """Yield each job with its result, or with the InputError that it raised, in the order in which they finish.

        If a worker is killed, its job gets an InputError. Closing the generator ends the workers that have a job.

        Args:
            function: does a job. Function, jobs and results must be picklable.
            jobs: read only as workers become free.

        Raises:
            Exception: any exception of `function` other than InputError.
        """
        if not self.limit:
            with _one_thread():
                for job in jobs:
                    yield job, _attempt(function, job)
            return
        waiting: Iterator[Any] = iter(jobs)
        following = next(waiting, NO_MORE)
        busy: dict[Connection, tuple[_Worker, J]] = {}
        try:
            while busy or following is not NO_MORE:
                while following is not NO_MORE and (self._idle or len(busy) < self.limit):
                    worker = self._free_worker()
                    busy[worker.connection] = worker, following
                    worker.assign(function, following)
                    following = next(waiting, NO_MORE)
                for worker, job in [busy[ready] for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                    result = worker.receive()
                    if result is READY:
                        continue
                    del busy[worker.connection]
                    if worker.process.is_alive():
                        self._idle.append(worker)
                    yield job, result
        finally:
            _terminate([worker for worker, _ in busy.values()])

    def _free_worker(self) -> "_Worker":
        """An idle worker, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
        return _Worker()


class _Worker:
    """A process that does one job after another, with a pipe of its own."""

    def __init__(self) -> None:
        self.is_ready = False
        self.task: Any = None
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        resource_tracker.ensure_running()  # otherwise `start` does it, and unblocks SIGINT
        with _sigint_blocked():
            self.process.start()
        theirs.close()

    def assign(self, function: Callable[[J], Any], job: J) -> None:
        """Start a job. A new worker gets it once it is ready, so that this process never waits for its start."""
        self.task = function, job
        if self.is_ready:
            self._send()

    def receive(self) -> Any:
        """The next message of the process: READY, or its job's result or InputError. Other errors are raised."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode or 0
            if status >= 0 or not self.is_ready:
                raise RuntimeError(f"a worker process ended unexpectedly with status {status}") from None
            return InputError(f"the process that encoded it died of {signal.Signals(-status).name}")
        if not self.is_ready:
            self.is_ready = True
            self._send()
            return READY
        if isinstance(message, Exception) and not isinstance(message, InputError):
            raise message
        return message

    def _send(self) -> None:
        with suppress(OSError):  # the process has died; `receive` reports it
            self.connection.send(self.task)
        self.task = None


def _terminate(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.connection.close()


def _serve(connection: Connection) -> None:
    """Do jobs as they come: the main function of a worker."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # there is one worker per core
    with suppress(OSError):  # here and below: the parent has ended, and this process is about to
        connection.send(READY)
    while True:
        try:
            function, job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = _attempt(function, job)
        except Exception as error:
            error.add_note(traceback.format_exc())
            result = error
        with suppress(OSError):
            connection.send(result)


def _attempt(function: Callable[[J], R], job: J) -> R | InputError:
    try:
        return function(job)
    except InputError as error:
        return error


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one torch thread within the block, as the workers do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C, which a terminal sends to all. This one reacts after the block."""
    if sys.platform == "win32":
        yield
        return
    # Started processes inherit the signal mask. It covers this thread only: another thread may receive the signal,
    # and Python would still run the handler here. So the handler is replaced as well.
    received: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number)) if in_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)
