"""The workers of a run, one per device: what the executor needs of them, and the pool of processes on this machine."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, Protocol, TypeAlias

from twinclock.spawning import SPAWN

Message: TypeAlias = dict[str, Any]

_EXIT_S = 2.0
"""Seconds that a worker has to leave by itself once its pipe is closed."""


class Died(NamedTuple):
    """A worker is gone; whatever it was doing is not going to be done."""

    device: str
    error: Mapping[str, Any]
    """Why, as far as is known: type and message."""
    is_killed: bool = False
    """By a signal, from outside: another one may live."""


class Workers(Protocol):
    """One worker per device, wherever it runs: started, spoken to, watched, started again after a death.

    Nothing here waits: what comes of a call is heard by waiting on `sources()` and taking what has come.
    """

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices."""

    @property
    def are_starting(self) -> bool:
        """Is a worker on its way that has not said `ready`?"""

    def is_starting(self, device: str) -> bool:
        """Is the worker of this device on its way?"""

    def start(self, device: str) -> None:
        """Start the worker of a device unless it is there."""

    def send(self, device: str, message: Mapping[str, Any]) -> None:
        """Send a message to the worker of a device, starting it if need be. A dead worker loses it: see `take`."""

    def sources(self) -> Iterator[Connection | int]:
        """What to wait on, with `multiprocessing.connection.wait`."""

    def take(self, source: Any) -> list[Message | Died]:
        """What has come from one of `sources()`: messages, each with its `device`, then the death if there was one."""

    def kill(self, device: str) -> None:
        """End a worker that does not listen; its death is then seen like any other."""

    def close(self) -> None:
        """End all workers; may be called twice."""


class _Worker(NamedTuple):
    process: SpawnProcess
    connection: Connection


class WorkerPool:
    """`Workers` that are processes spawned by this one. Nothing is started before it is needed.

    `target` is the main function of a worker, called as `target(connection, device, *arguments)` in a
    fresh interpreter. It says `{"kind": "ready"}` once it can take jobs, or `{"kind": "error", "error":
    …}` before it leaves because it can't. (spawn, not fork: neither polars nor CUDA survives a fork.)
    """

    def __init__(self, target: Any, devices: Sequence[str], arguments: Sequence[Any]) -> None:
        self.devices = tuple(devices)
        self._target = target
        self._arguments = tuple(arguments)
        self._workers: dict[str, _Worker] = {}
        self._starting: set[str] = set()
        self._last_words: dict[str, Mapping[str, Any]] = {}
        """Device → the error that its worker could not start for."""

    @property
    def are_starting(self) -> bool:
        """Is a worker on its way that has not said `ready`?"""
        return bool(self._starting)

    def is_starting(self, device: str) -> bool:
        """Is the worker of this device on its way?"""
        return device in self._starting

    def start(self, device: str) -> None:
        """Start the worker of a device unless it is there."""
        if device in self._workers:
            return
        with _signals_put_off():
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(
                target=self._target, args=(theirs, device, *self._arguments), name=f"twinclock {device}", daemon=True
            )
            process.start()
            theirs.close()
            self._workers[device] = _Worker(process, ours)
            self._starting.add(device)

    def send(self, device: str, message: Mapping[str, Any]) -> None:
        """Send a message to the worker of a device, starting it if need be. A dead worker loses it: see `take`."""
        self.start(device)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its death is about to be reported
            self._workers[device].connection.send(dict(message))

    def sources(self) -> Iterator[Connection | int]:
        """What to wait on: each worker's messages, and its end."""
        for worker in self._workers.values():
            yield worker.connection
            yield worker.process.sentinel

    def take(self, source: Any) -> list[Message | Died]:
        """What has come from one of `sources()`: messages, each with its `device`, then the death if there was one."""
        for device, worker in self._workers.items():
            if source == worker.process.sentinel or source is worker.connection:
                return self._drained(device, worker)
        return []

    def kill(self, device: str) -> None:
        """End a worker that does not listen; its death is then seen like any other."""
        if device in self._workers:
            self._workers[device].process.kill()

    def close(self) -> None:
        """End all workers: they leave when their pipe closes, or are killed."""
        for worker in self._workers.values():
            worker.connection.close()
        for worker in self._workers.values():
            _exit_code(worker.process)
        self._workers.clear()
        self._starting.clear()

    def _drained(self, device: str, worker: _Worker) -> list[Message | Died]:
        happened: list[Message | Died] = []
        gone = False
        try:
            while worker.connection.poll():
                message = {**worker.connection.recv(), "device": device}
                if device not in self._starting:
                    happened.append(message)
                elif message["kind"] == "error":
                    self._last_words[device] = message["error"]
                else:
                    self._starting.discard(device)
                    happened.append(message)
        except (EOFError, OSError):  # the end of the pipe, or of half a message
            gone = True
        if gone or not worker.process.is_alive():
            code = _exit_code(worker.process)
            worker.connection.close()
            del self._workers[device]
            self._starting.discard(device)
            how = f"was ended by a signal: {signal.strsignal(-code)}" if code < 0 else f"ended with exit code {code}"
            died = {"type": "WorkerDied", "message": f"the worker of {device} {how}"}
            happened.append(Died(device, self._last_words.pop(device, died), code < 0))
        return happened


def _exit_code(process: SpawnProcess) -> int:
    """The exit code of a worker that is about to leave; one that does not is killed."""
    process.join(_EXIT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None  # it was joined
    return process.exitcode


@contextmanager
def _signals_put_off() -> Iterator[None]:
    """While a worker is started: an interrupt waits until the worker is known, and never reaches the worker itself.

    Ctrl-C goes to the whole group, and so may SIGTERM, but ending is the parent's business. A worker inherits the mask,
    for it could not ignore the signals by itself before its imports are done.
    """
    came: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # the only one that a handler interrupts
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    resource_tracker.ensure_running()  # its own start would undo the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in came:
            signal.raise_signal(late)
