"""The executor whose clock is SimPy's: a run of weeks takes the time that its events take to compute."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import simpy

from sim.computing import Computing
from sim.contention import Interference, Node
from twinclock.allocator import Granting, Key
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
    Release,
    Start,
)
from twinclock.stream import ClockTime


class Load(NamedTuple):
    """What a stage that computes puts on its devices: others there slow it down, and it them."""

    devices: tuple[str, ...]
    interference: Interference
    values: Callable[[float], Mapping[str, Json]] | None = None
    """The seconds that it took in the end → its values; None: they are those of the effect."""


class Effect(NamedTuple):
    """What doing a stage comes to: how long it takes, and how it ends."""

    seconds: float
    """With no other job beside it."""
    outcome: str
    values: Mapping[str, Json]
    load: Load | None = None
    """None: it takes as long whatever goes on beside it."""


Body: TypeAlias = "Callable[[Start, SimExecutor], Effect]"
"""Models one operation; called when the stage starts. An exception is the stage's failure."""

_NOTHING: Mapping[str, Json] = {}
_END = "end"
"""Where timers have their names, a stage run's end has this."""


class SimExecutor:
    """Carries out commands on a SimPy clock; `bodies` says what each operation of each pipeline does."""

    def __init__(
        self,
        bodies: Mapping[str, Mapping[str, Body]],
        allocator: Granting,
        nodes: Mapping[str, Node] | None = None,
    ) -> None:
        """`nodes`: device → the node it is on; None: no job slows down another."""
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
        self._computing = None if nodes is None else Computing(nodes, self._timeout)
        self._now = ClockTime(0.0)
        self._collects_garbage = gc.isenabled()
        gc.disable()  # a run makes millions of records and no cycles: looking for some would cost a third of the time

    def now(self) -> ClockTime:
        """Seconds of simulated time since the run's start."""
        return self._now

    def next(self) -> tuple[str, Event] | None:
        """Let simulated time pass until something is ready."""
        if self._prompt:
            return self._prompt.popleft()
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
                if self._computing:
                    self._note_computed(self._computing, happened)
                return happened  # type: ignore[no-any-return]  # SimPy's events hold anything; these, a pair

    def perform(self, command: Command) -> None:
        """Begin to carry out a command."""
        if type(command) is Start:
            pipeline = command.pipeline
            try:
                seconds, outcome, values, load = self._bodies[pipeline][command.stage.operation](command, self)
            except Exception as error:
                self._prompt.append((pipeline, failure(command.id, error)))
                return
            if load is not None and self._computing is not None and seconds > 0.0:
                self._compute(self._computing, (pipeline, command.id), Effect(seconds, outcome, values), load)
            else:
                # tuple.__new__ gives the same Ended as Ended(…), at a third of its price
                self._after(seconds, (pipeline, tuple.__new__(Ended, (command.id, outcome, values))))
            return
        match command:
            case Acquire():
                self._prompt.extend(self._allocator.request(command, self._now))
            case Release(pipeline, id_):
                self._prompt.extend(self._allocator.release((pipeline, id_)))
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

    def end_now(self, key: Key, outcome: str, values: Mapping[str, Json]) -> None:
        """End a stage run before its time, unless its end is to be handed over next."""
        pipeline, id_ = key
        if any(type(event) is Ended and (who, event.id) == key for who, event in self._prompt):
            return
        computing = self._computing
        if computing is None or key not in computing or not computing.end(key, self._now):
            self._void.add((pipeline, id_, _END))
        self._prompt.append((pipeline, Ended(id_, outcome, values)))

    def ends_s(self, key: Key, planned_s: float) -> float:
        """When a stage run that was to end at `planned_s` will end, as things stand."""
        computing = self._computing
        return planned_s if computing is None or key not in computing else computing.ends_s(key)

    def stop(self) -> None:
        """Ask every pipeline to take no more data, finish what it has, and be done."""
        self.stopping = True

    def close(self) -> None:
        """Nothing is held but the garbage collector's pause."""
        if self._collects_garbage:
            gc.enable()

    def _compute(self, computing: Computing, key: Key, effect: Effect, load: Load) -> None:
        def end(seconds: float) -> tuple[str, Ended]:
            values = effect.values if load.values is None else load.values(seconds)
            return key[0], Ended(key[1], effect.outcome, values)

        computing.begin(key, load.devices, effect.seconds, load.interference, end, self._now)

    def _note_computed(self, computing: Computing, happened: tuple[str, Event]) -> None:
        pipeline, event = happened
        if type(event) is Ended and (pipeline, event.id) in computing:
            computing.end((pipeline, event.id), self._now)

    def _after(self, seconds: float, happens: tuple[str, Event]) -> None:
        if seconds > 0.0:
            self._timeout(seconds, happens)
        else:
            self._prompt.append(happens)

    def _timeout(self, seconds: float, happens: tuple[str, Event]) -> simpy.Timeout:
        timeout = simpy.Timeout(self.environment, seconds, happens)
        timeout.callbacks = [self._due.append]
        return timeout

    def _forget(self, happened: tuple[str, Ended | Fired]) -> bool:
        pipeline, event = happened
        key = (pipeline, event.id, event.timer if isinstance(event, Fired) else _END)
        if key not in self._void:
            return False
        self._void.remove(key)
        return True
