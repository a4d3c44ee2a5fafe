"""Starting worker processes that do not run the user's script again, and don't die of a Ctrl-C while they start.

A spawned process imports the script that it was started from, in case something in it is needed. Then a script without
`if __name__ == "__main__"` would start itself over and over. The workers of this project need nothing of it: what users
bring along is imported by `package.module:name`.

Ctrl-C goes to all processes of a terminal, but what becomes of workers is their parent's business. So a worker starts
with SIGINT blocked, for it can't ignore it before its imports are done; whoever ignores it then may unblock it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

_hiding = threading.Lock()


class _Process(SpawnProcess):
    """A spawned process that is not told which script it comes from, nor of a Ctrl-C."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - the name that multiprocessing looks for
        with _hidden_script(), _blocked_interrupt():
            return SpawnProcess._Popen(process_obj)


class Spawning(SpawnContext):
    """As the context `spawn` of multiprocessing, which also has queues and pipes."""

    Process = _Process


SPAWN = Spawning()
"""Instead of `multiprocessing.get_context("spawn")`."""


@contextmanager
def _hidden_script() -> Iterator[None]:
    """For the moment in which multiprocessing asks which script this is."""
    with _hiding:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script


@contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """A process inherits the mask of the thread that starts it."""
    resource_tracker.ensure_running()  # its own start would undo the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
