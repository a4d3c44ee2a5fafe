"""The executor whose clock is SimPy's: a run of weeks takes the time that its events take to compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import simpy

from twinclock.allocator import Allocator, Grant, Key
from twinclock.errors import ProtocolError
from twinclock.executor import failure
from twinclock.graph import CANCELLED, Json
from twinclock.messages import (
    Acquire,
    Arm,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Finish,
    Fired,
    Granted,
    Release,
    Start,
)
from twinclock.stream import ClockTime


class Effect(NamedTuple):
    """What doing a stage comes to: how long it takes, and how it ends."""

    seconds: float
    outcome: str
    values: Mapping[str, Json]


Body: TypeAlias = "Callable[[Start, SimExecutor], Effect]"
"""Models one operation; called when the stage starts. An exception is the stage's failure."""

_NOTHING: Mapping[str, Json] = {}


class SimExecutor:
    """Carries out commands on a SimPy clock; `bodies` says what each operation of each pipeline does."""

    def __init__(self, bodies: Mapping[str, Mapping[str, Body]], allocator: Allocator) -> None:
        self.environment = simpy.Environment()
        self.stopping = False
        """Set by `stop`: sources end with `stop`, and the pipeline drains."""
        self._bodies = bodies
        self._allocator = allocator
        self._ready: deque[tuple[str, Event]] = deque()
        self._ahead: dict[tuple[str, int, str], simpy.Event] = {}
        """What lies ahead on the clock, by (pipeline, id, "end" or timer)."""

    def now(self) -> ClockTime:
        """Seconds of simulated time since the run's start."""
        return ClockTime(self.environment.now)

    def next(self) -> tuple[str, Event] | None:
        """Let simulated time pass until something is ready."""
        ready, step = self._ready, self.environment.step
        try:
            while not ready:
                step()
        except simpy.core.EmptySchedule:
            return None
        return ready.popleft()

    def perform(self, command: Command) -> None:
        """Begin to carry out a command."""
        kind = type(command)
        if kind is Start:
            self._start(command)  # type: ignore[arg-type]
        elif kind is Acquire:
            pipeline, id_, _, needs, queue = command  # type: ignore[misc]
            self._hand_out(self._allocator.request((pipeline, id_), needs, queue, self.now()))
        elif kind is Release:
            self._hand_out(self._allocator.release((command.pipeline, command.id)))  # type: ignore[union-attr]
        elif kind is Arm:
            pipeline, id_, timer, delay_s = command  # type: ignore[misc]
            self._later(delay_s, (pipeline, id_, timer), Fired(id_, timer))
        elif kind is Disarm:
            self._forget((command.pipeline, command.id, command.timer))  # type: ignore[union-attr]
        elif kind is Cancel:
            pipeline, id_ = command  # type: ignore[misc]
            self.end_now((pipeline, id_), CANCELLED, _NOTHING)
        elif kind is not Finish:
            raise ProtocolError(f"unknown command {command!r}")

    def end_now(self, key: Key, outcome: str, values: Mapping[str, Json]) -> bool:
        """End a running stage run before its time; False if it had ended already."""
        pipeline, id_ = key
        if not self._forget((pipeline, id_, "end")):
            return False
        self._ready.append((pipeline, Ended(id_, outcome, values)))
        return True

    def stop(self) -> None:
        """Ask every pipeline to take no more data, finish what it has, and be done."""
        self.stopping = True

    def close(self) -> None:
        """Nothing is held that would have to be given up."""

    def _start(self, start: Start) -> None:
        pipeline, id_ = start.pipeline, start.id
        try:
            seconds, outcome, values = self._bodies[pipeline][start.stage.operation](start, self)
        except Exception as error:
            self._ready.append((pipeline, failure(id_, error)))
            return
        if seconds > 0.0:
            self._later(seconds, (pipeline, id_, "end"), Ended(id_, outcome, values))
        else:
            self._ready.append((pipeline, Ended(id_, outcome, values)))

    def _later(self, delay_s: float, key: tuple[str, int, str], event: Event) -> None:
        timeout = self.environment.timeout(delay_s, (key, event))
        self._ahead[key] = timeout
        timeout.callbacks.append(self._happened)

    def _happened(self, timeout: simpy.Event) -> None:
        key, event = timeout.value
        if self._ahead.get(key) is timeout:
            del self._ahead[key]
            self._ready.append((key[0], event))

    def _forget(self, key: tuple[str, int, str]) -> bool:
        return self._ahead.pop(key, None) is not None

    def _hand_out(self, grants: list[Grant]) -> None:
        self._ready.extend((pipeline, Granted(id_, placement)) for (pipeline, id_), placement in grants)
