"""File work beside the coordinator of a real run: a few threads, and a pipe that says when one of them is done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Pipe
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")

_NUM_THREADS = 4


class HelperThreads(Generic[K, T]):
    """Performs tasks, each under a key; the coordinator waits on `woken`, then takes one result."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="twinclock")
        self._done: SimpleQueue[tuple[K, T | Exception]] = SimpleQueue()
        self.woken, self._wake = Pipe(duplex=False)
        """To be waited on: it can be read from when a result is there."""
        self.num_busy = 0
        """Tasks whose results were not taken yet."""

    def submit(self, key: K, task: Callable[[], T]) -> None:
        """Perform a task in a thread."""
        self.num_busy += 1

        def perform() -> None:
            try:
                result: T | Exception = task()
            except Exception as error:
                result = error
            self._done.put((key, result))
            self._wake.send_bytes(b"\0")

        self._threads.submit(perform)

    def take(self) -> tuple[K, T | Exception]:
        """The key of a task that is done, and its result or what it raised. Waits if `woken` has nothing to read."""
        self.woken.recv_bytes()
        self.num_busy -= 1
        return self._done.get()

    def close(self) -> None:
        """Wait for the tasks under way, and forget the others."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.woken.close()
        self._wake.close()
