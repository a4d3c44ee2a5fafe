"""The executor whose clock is SimPy's: a run of weeks takes the time that its events take to compute."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import simpy

from twinclock.allocator import Grant, Granting, Key
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
_END = "end"
"""Where timers have their names, a stage run's end has this."""


class SimExecutor:
    """Carries out commands on a SimPy clock; `bodies` says what each operation of each pipeline does."""

    def __init__(self, bodies: Mapping[str, Mapping[str, Body]], allocator: Granting) -> None:
        self.environment = simpy.Environment()
        self.stopping = False
        """Set by `stop`: sources end with `stop`, and the pipeline drains."""
        self._bodies = bodies
        self._allocator = allocator
        self._prompt: deque[tuple[str, Event]] = deque()
        """What happened without time passing, to be handed over next."""
        self._due: deque[simpy.Event] = deque()
        """What the clock has reached; the value of each is (pipeline, event)."""
        self._void: set[tuple[str, int, str]] = set()
        """Ends and timers that are due or lie ahead, and must not be handed over any more."""
        self._waits: set[Key] = set()
        """Stage runs of kind `wait` whose end was not handed over yet."""
        self._now = ClockTime(0.0)
        self._collects_garbage = gc.isenabled()
        gc.disable()  # a run makes millions of records and no cycles: looking for some would cost a third of the time

    def now(self) -> ClockTime:
        """Seconds of simulated time since the run's start."""
        return self._now

    def next(self) -> tuple[str, Event] | None:
        """Let simulated time pass until something is ready."""
        if self._prompt:
            return self._hand_over(self._prompt.popleft())
        due, step = self._due, self.environment.step
        while True:
            try:
                while not due:
                    step()
            except simpy.core.EmptySchedule:
                return None
            happened: Any = due.popleft().value
            if not self._void or not self._forget(happened):
                self._now = ClockTime(self.environment.now)
                return self._hand_over(happened)

    def perform(self, command: Command) -> None:
        """Begin to carry out a command."""
        if type(command) is Start:
            pipeline = command.pipeline
            if command.stage.kind == "wait":
                self._waits.add((pipeline, command.id))
            try:
                seconds, outcome, values = self._bodies[pipeline][command.stage.operation](command, self)
            except Exception as error:
                self._prompt.append((pipeline, failure(command.id, error)))
            else:
                # tuple.__new__ gives the same Ended as Ended(…), at a third of its price
                self._after(seconds, (pipeline, tuple.__new__(Ended, (command.id, outcome, values))))
            return
        match command:
            case Acquire(pipeline, id_, _, needs, queue):
                self._hand_out(self._allocator.request((pipeline, id_), needs, queue, self._now))
            case Release(pipeline, id_):
                self._hand_out(self._allocator.release((pipeline, id_)))
            case Arm(pipeline, id_, timer, delay_s):
                self._after(delay_s, (pipeline, Fired(id_, timer)))
            case Disarm(pipeline, id_, timer):
                self._void.add((pipeline, id_, timer))
            case Cancel(pipeline, id_):
                self.end_now((pipeline, id_), CANCELLED, _NOTHING)
            case Finish():
                pass
            case _:
                raise ProtocolError(f"unknown command {command!r}")

    def is_waiting(self, key: Key) -> bool:
        """Is this a stage run of kind `wait` whose end was not handed over yet?"""
        return key in self._waits

    def end_now(self, key: Key, outcome: str, values: Mapping[str, Json]) -> None:
        """End a stage run before its time, unless its end is to be handed over next."""
        pipeline, id_ = key
        if any(type(event) is Ended and (who, event.id) == key for who, event in self._prompt):
            return
        self._void.add((pipeline, id_, _END))
        self._prompt.append((pipeline, Ended(id_, outcome, values)))

    def stop(self) -> None:
        """Ask every pipeline to take no more data, finish what it has, and be done."""
        self.stopping = True

    def close(self) -> None:
        """Nothing is held but the garbage collector's pause."""
        if self._collects_garbage:
            gc.enable()

    def _after(self, seconds: float, happens: tuple[str, Event]) -> None:
        if seconds > 0.0:
            simpy.Timeout(self.environment, seconds, happens).callbacks = [self._due.append]
        else:
            self._prompt.append(happens)

    def _hand_over(self, happened: tuple[str, Event]) -> tuple[str, Event]:
        if self._waits and type(happened[1]) is Ended:
            self._waits.discard((happened[0], happened[1].id))
        return happened

    def _forget(self, happened: tuple[str, Ended | Fired]) -> bool:
        pipeline, event = happened
        key = (pipeline, event.id, event.timer if isinstance(event, Fired) else _END)
        if key not in self._void:
            return False
        self._void.remove(key)
        return True

    def _hand_out(self, grants: list[Grant]) -> None:
        self._prompt.extend((pipeline, Granted(id_, placement)) for (pipeline, id_), placement in grants)
