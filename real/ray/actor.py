"""The worker of `real.worker` inside a Ray actor."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from real.pool import Message

HEARD, SAID = "heard", "said"
"""The actor's concurrency groups, of one thread each: what it is told is taken in order, while it is listened to."""


class WorkerActor:
    """The end of a pipe whose other end a worker holds, in a thread of the same process."""

    def __init__(self) -> None:
        self._ours, self._theirs = Pipe()

    def begin(self, target: Callable[..., None], device: str, arguments: Sequence[Any], mark: Path, token: str) -> None:
        """Start the worker: `target(connection, device, *arguments)`. RunError if it can't see the run's folder."""
        import ray

        from twinclock.errors import RunError

        try:
            seen = mark.read_text(encoding="utf-8")
        except OSError:
            seen = ""
        if seen != token:
            node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # ray has no types for it
            raise RunError(
                f"{mark.parent}: not the run's folder on node {node} of the Ray cluster; "
                "expected a folder on a file system that all nodes share"
            )
        if not device.startswith("cuda"):
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # where it is CUDA, Ray has set it to the GPU of this actor
        life = threading.Thread(target=_live, args=(target, self._theirs, device, arguments), daemon=True)
        life.start()

    def tell(self, message: Message) -> None:
        """Pass a message on to the worker."""
        self._ours.send(message)

    def listen(self) -> list[Message]:
        """What the worker has said since the last time; waits until it says something."""
        said = [self._ours.recv()]
        while self._ours.poll():
            said.append(self._ours.recv())
        return said


def _live(target: Callable[..., None], connection: Connection, device: str, arguments: Sequence[Any]) -> None:
    try:
        target(connection, device, *arguments)
    finally:  # it never returns: it has said why it can't start, or what it runs has called for the end of the process
        left = {"type": "WorkerDied", "message": f"the worker of {device} left"}
        connection.send({"id": "", "kind": "error", "error": left})
