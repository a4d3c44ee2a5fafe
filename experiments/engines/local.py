"""Runs in worker processes of this machine: one that hangs or dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import RLock
from typing import TYPE_CHECKING

from experiments.job import Job, perform
from experiments.store import Result
from twinclock.spawning import Spawning

if TYPE_CHECKING:
    from pebble import ProcessPool

_QUEUED_PER_WORKER = 2
"""Runs handed over to each worker, so that none waits for the next one."""

_LISTEN_EVERY_S = 0.2
"""Seconds after which an interrupt is heard at the latest: polars' own handler of it restarts a wait without end."""


class _KeepsLocks(Spawning):
    """Keeps the locks that it has made. A pool lets go of them before the last of its workers is gone.

    One that is just starting then would look for a lock that is no more, and die with a traceback.
    """

    def __init__(self) -> None:
        self._locks: list[RLock] = []

    def RLock(self) -> RLock:  # noqa: N802 - the name that pools call
        lock = super().RLock()
        self._locks.append(lock)
        return lock


def local(jobs: Iterable[Job], *, num_workers: int, timeout_s: float | None) -> Generator[tuple[Job, Result]]:
    """The jobs with their results, as they end. Closing the iterator ends the runs that are under way."""
    with local_workers(num_workers=num_workers, timeout_s=timeout_s) as perform_all:
        yield from perform_all(jobs)


@contextmanager
def local_workers(
    *, num_workers: int, timeout_s: float | None
) -> Iterator[Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]]:
    """Workers that stay for several lots of jobs; what performs a lot. Leaving ends the runs that are under way."""
    from pebble import ProcessPool

    context = _KeepsLocks()  # spawned, for polars does not survive a fork
    pool = ProcessPool(max_workers=num_workers, context=context, initializer=leave_with_parent)
    try:
        yield partial(_performed, pool, num_workers, timeout_s)
    finally:
        _end(pool)


def _performed(
    pool: ProcessPool, num_workers: int, timeout_s: float | None, jobs: Iterable[Job]
) -> Generator[tuple[Job, Result]]:
    waiting = iter(jobs)
    running: dict[Future[Result], Job] = {}
    while True:
        for job in islice(waiting, num_workers * _QUEUED_PER_WORKER - len(running)):
            running[pool.schedule(perform, args=[job], timeout=timeout_s)] = job
        if not running:
            return
        for future in wait(running, _LISTEN_EVERY_S, FIRST_COMPLETED).done:
            yield running.pop(future), _result(future, timeout_s)


def leave_with_parent() -> None:
    """End this process when the one that started it is gone, be it by `kill -9`; by then its pool ignores Ctrl-C."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=[parent.sentinel], daemon=True).start()


def _leave_after(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _result(future: Future[Result], timeout_s: float | None) -> Result:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return Result("timeout", {}, f"took longer than {timeout_s:g} s", timeout_s or 0.0)
    except ProcessExpired as died:
        code = died.exitcode
        return Result("crashed", {}, f"its process ended with exit code {code}", 0.0)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
