"""What the parent of a worker says, heard while the worker is at work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]


class Inbox:
    """What the parent says. A thread listens, so that a stop, or the parent's end, is noticed during a job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs: SimpleQueue[Message] = SimpleQueue()
        self._stopped: dict[str, Message | None] = {}
        """Each job that has not ended → what asked it to stop, if something did."""
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def jobs(self) -> Iterator[Message]:
        """Jobs in the order in which they came; never ends, for the process ends with the pipe."""
        while True:
            yield self._jobs.get()

    def is_stopped(self, job_id: str) -> bool:
        """Has the parent asked for this job to stop?"""
        return self._stopped[job_id] is not None

    def is_dropped(self, job_id: str) -> bool:
        """Is it to stop for good?"""
        stop = self._stopped[job_id]
        return stop is not None and stop.get("drop", False)

    def finished(self, job: Message) -> None:
        """The job has ended: a stop that comes now is too late."""
        with self._lock:
            del self._stopped[job["id"]]

    def _listen(self) -> None:
        try:
            while True:
                self._take(self._connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # from a thread, in the middle of whatever: what is on disk is whole, or not there

    def _take(self, message: Message) -> None:
        job_id = message["id"]
        with self._lock:
            if message["do"] == "stop":
                if job_id in self._stopped:
                    self._stopped[job_id] = message
            elif job_id not in self._stopped:  # else it was asked for twice, and one answer will do
                self._stopped[job_id] = None
                self._jobs.put(message)
