"""The worker processes. Jobs are expressions for `eval`: spawned processes cannot import functions of this file."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.training.preparing.workers import Workers

REFUSED = "__import__('waveletgpt.tokenizers.audio.waveform', fromlist=['']).check_rates({})"
THREADS = "__import__('torch').get_num_threads()"
CRASH = "__import__('signal').raise_signal(11)"
EXIT = "__import__('sys').exit(3)"
PID = "(__import__('time').sleep(0.2), __import__('os').getpid())[1]"

PARENT = """
from waveletgpt.training.preparing.workers import Workers

def main():
    with Workers(2) as workers:
        for job, _ in workers.spread(eval, ["1", "2", "__import__('time').sleep(600)"]):
            print(job, flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two worker processes that all tests of this file share."""
    with Workers(2) as workers:
        yield workers


def results_by_job(results: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {job: f"refused: {result}" if isinstance(result, InputError) else result for job, result in results}


def test_every_job_is_done_once_or_refused(workers: Workers) -> None:
    jobs = ["1 + 1", REFUSED.format(8), "2 * 3", *(f"{i} + 0" for i in range(20))]
    expected = results_by_job(Workers(0).spread(eval, jobs))
    assert list(expected) == jobs
    assert expected["2 * 3"] == 6
    assert expected[jobs[1]] == "refused: the sample rate must be 1000 to 1000000 Hz, not 8"
    assert results_by_job(workers.spread(eval, jobs)) == expected
    assert results_by_job(workers.spread(eval, [])) == {}


def test_jobs_done_here_have_one_thread_too() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert results_by_job(Workers(0).spread(eval, [THREADS])) == {THREADS: 1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_two_processes_work_side_by_side_with_a_thread_each(workers: Workers) -> None:
    pids = results_by_job(workers.spread(eval, [f"{PID} + {i} * 0" for i in range(6)]))
    assert len(set(pids.values())) == 2
    assert set(results_by_job(workers.spread(eval, [THREADS, f"{THREADS} + 0"])).values()) == {1}
    assert results_by_job(workers.spread(eval, [PID]))[PID] in pids.values()


def test_jobs_are_taken_as_they_are_needed(workers: Workers) -> None:
    """At most one job more than there are processes is taken in advance, since a job may be unpacked when taken."""
    taken: list[int] = []

    def jobs() -> Iterator[str]:
        for i in range(12):
            taken.append(i)
            yield f"{i} + 0"

    with closing(workers.spread(eval, jobs())) as results:
        for done, _ in enumerate(results, 1):
            assert len(taken) <= done + 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
def test_an_idle_worker_that_is_killed_fails_no_job(workers: Workers) -> None:
    list(workers.spread(eval, ["1", "2"]))
    victim = workers._idle[-1].process
    victim.kill()
    victim.join()
    jobs = [f"{i} + 0" for i in range(8)]
    assert results_by_job(workers.spread(eval, jobs)) == {f"{i} + 0": i for i in range(8)}


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
def test_a_worker_killed_while_it_receives_a_job_fails_that_job_only(workers: Workers) -> None:
    """The job is larger than a pipe, so only half of it has been sent when the worker dies."""
    pids = set(results_by_job(workers.spread(eval, [f"{PID} + {i} * 0" for i in range(4)])).values())
    victim = pids.pop()
    os.kill(victim, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    results = [result for _, result in workers.spread(len, [b"x" * (1 << 22)] * 4)]
    assert [str(result) for result in results if isinstance(result, InputError)] == [
        "the process that encoded it died of SIGKILL"
    ]
    assert [result for result in results if not isinstance(result, InputError)] == [1 << 22] * 3


def test_a_process_that_crashes_fails_its_job_only(workers: Workers) -> None:
    jobs = [*(f"{i} + 0" for i in range(5)), CRASH, *(f"{i} + 0" for i in range(5, 10))]
    results = results_by_job(workers.spread(eval, jobs))
    assert results.pop(CRASH) == "refused: the process that encoded it died of SIGSEGV"
    assert results == {f"{i} + 0": i for i in range(10)}


@pytest.mark.parametrize(("job", "error"), [("1 / 0", ZeroDivisionError), (EXIT, RuntimeError)])
def test_a_fault_of_the_program_is_raised(workers: Workers, job: str, error: type[Exception]) -> None:
    """A bug in the program is not reported as an unreadable file."""
    with pytest.raises(error):
        list(workers.spread(eval, ["1", job]))
    assert results_by_job(workers.spread(eval, ["2"])) == {"2": 2}


def test_giving_up_ends_the_jobs_under_way(workers: Workers) -> None:
    started = time.monotonic()
    with closing(workers.spread(eval, ["1", "__import__('time').sleep(600)"])) as results:
        assert next(results) == ("1", 1)
    assert time.monotonic() - started < 60
    assert results_by_job(workers.spread(eval, ["3"])) == {"3": 3}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    """The workers end even when their parent is killed."""
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert parent.stdout is not None
    assert {parent.stdout.readline(), parent.stdout.readline()} == {b"1\n", b"2\n"}
    started = [pid for pid in children(parent.pid) if is_running(pid)]
    assert len(started) >= 2
    parent.kill()
    _, errors = parent.communicate()
    assert errors == b""
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in started)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is held by signal masks")
def test_no_worker_hears_ctrl_c_not_even_the_first(tmp_path: Path) -> None:
    """multiprocessing first starts a helper process, and then lets Ctrl-C through again."""
    held = "(__import__('time').sleep(0.2), 2 in __import__('signal').pthread_sigmask(0, []))[1]"
    code = f"""
from waveletgpt.training.preparing.workers import Workers

if __name__ == "__main__":
    with Workers(2) as workers:
        print(*(held for _, held in workers.spread(eval, [{held!r}] * 6)))
"""
    (tmp_path / "parent.py").write_text(code)
    done = subprocess.run(
        [sys.executable, tmp_path / "parent.py"], capture_output=True, text=True, timeout=250, check=True
    )
    assert done.stdout.split() == ["True"] * 6
