"""Jobs spread over processes. A process that dies costs no more than the job it had."""

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

CONTEXT = multiprocessing.get_context("spawn")  # torch and the tokenizers start threads, which forks do not survive
READY = "ready"
NO_MORE: Any = object()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses one thread, as it does in each of the processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Workers:
    """Up to `limit` processes, started as there are jobs for them; with a limit of 0 all jobs are done here.

    They end with the block that this opens, and with this process, whatever ends it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._idle)

    def spread(self, function: Callable[[J], R], jobs: Iterable[J]) -> Generator[tuple[J, R | InputError], None, None]:
        """Yield each job with what `function` made of it, or with the InputError that it raised, as they are done.

        Jobs are taken from their iterator as they are needed. `function`, jobs and results go from process to
        process, so they must be picklable. A job whose process dies gets an InputError that says so; any other
        exception than InputError is raised here. Closing the generator ends the processes that have a job.
        """
        if not self.limit:
            with one_thread():
                for job in jobs:
                    yield job, _attempt(function, job)
            return
        waiting: Iterator[Any] = iter(jobs)
        ahead = next(waiting, NO_MORE)
        busy: dict[Connection, tuple[_Worker, J]] = {}
        try:
            while busy or ahead is not NO_MORE:
                while ahead is not NO_MORE and (self._idle or len(busy) < self.limit):
                    worker = self._free()
                    busy[worker.connection] = worker, ahead
                    worker.give(function, ahead)
                    ahead = next(waiting, NO_MORE)
                for worker, job in [busy[ready] for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                    result = worker.answer()
                    if result is READY:
                        continue
                    del busy[worker.connection]
                    if worker.process.is_alive():
                        self._idle.append(worker)
                    yield job, result
        finally:
            _end([worker for worker, _ in busy.values()])

    def _free(self) -> "_Worker":
        """A process without a job."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
        return _Worker()


class _Worker:
    """A process that does one job after the other, seen from the process that gives them."""

    def __init__(self) -> None:
        self.is_ready = False
        self.task: Any = None
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        resource_tracker.ensure_running()  # else `start` does so, and lets Ctrl-C in
        with _ctrl_c_held():
            self.process.start()
        theirs.close()

    def give(self, function: Callable[[J], Any], job: J) -> None:
        """Have a job done. It is sent when the process is ready, lest this one wait for that."""
        self.task = function, job
        if self.is_ready:
            self._send()

    def answer(self) -> Any:
        """What has come from the process: READY, the job's result, or its InputError."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode or 0
            if status >= 0 or not self.is_ready:
                raise RuntimeError(f"a process for encoding ended by itself, with the status {status}") from None
            return InputError(f"the process that encoded it died of {signal.Signals(-status).name}")
        if not self.is_ready:
            self.is_ready = True
            self._send()
            return READY
        if isinstance(answer, Exception) and not isinstance(answer, InputError):
            raise answer
        return answer

    def _send(self) -> None:
        with suppress(OSError):  # it has died, as `answer` will find
            self.connection.send(self.task)
        self.task = None


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.connection.close()


def _serve(connection: Connection) -> None:
    """Do the jobs that come, in a process of their own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # the processes are as many as the cores
    with suppress(OSError):  # here and below: the parent has gone, and this process goes with it
        connection.send(READY)
    while True:
        try:
            function, job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = _attempt(function, job)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = error
        with suppress(OSError):
            connection.send(answer)


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Keep Ctrl-C, which reaches all processes, from those that are started in the block; this one hears it after."""
    if sys.platform == "win32":
        yield
        return
    # The mask is what those that are started inherit. It holds for this thread alone: another one may be given the
    # signal, and Python's handler would still run here.
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _attempt(function: Callable[[J], R], job: J) -> R | InputError:
    try:
        return function(job)
    except InputError as error:
        return error


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
