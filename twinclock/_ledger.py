"""What an executor has been asked and has not answered yet; every breach of its contract is raised at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from twinclock.allocator import Allocator, Answer, Key
from twinclock.executor import Executor
from twinclock.graph import CANCELLED, ERROR_SLOT, FAILED, Json
from twinclock.messages import (
    Acquire,
    Arm,
    Begin,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Fired,
    Granted,
    Placement,
    Recalled,
    Release,
    Start,
)
from twinclock.stream import ClockTime

E = TypeVar("E", Granted, Recalled)

PIPELINES: Final = ("one", "other")
"""The pipelines that the executor under test must serve, side by side."""

_ROUNDING_S = 1e-6
_AT_START_S = 10.0
"""What the clock of a new executor may show: it may have had to start processes."""
_MAX_EVENTS = 10_000


class ConformanceError(AssertionError):
    """An executor broke its contract; the message says how."""


class Scripted(NamedTuple):
    """What an operation does whenever it is started: it takes its time, then ends, or raises."""

    seconds: float = 0.0
    """On the executor's clock."""
    outcome: str = "done"
    values: Mapping[str, Json] = {}
    raises: Exception | None = None
    """Raised, at once or after that time, instead of ending with an outcome."""


class _Run(NamedTuple):
    start: Start
    started_s: float


class _Timer(NamedTuple):
    due_s: float
    disarmed_s: float | None


class Ledger:
    """An executor that passes everything on to another, and watches."""

    def __init__(self, executor: Executor, script: Mapping[str, Scripted], units: Mapping[str, Sequence[str]]) -> None:
        self.doing = "nothing yet"
        """What the executor was last asked to do, for a message about one that hangs."""
        self._executor = executor
        self._script = script
        self._allocator = Allocator(units)
        self._now_s: float | None = None
        self._num_events = 0
        self._running: dict[Key, _Run] = {}
        self._cancelled: set[Key] = set()
        self._over: set[Key] = set()
        self._waiting: dict[Key, Mapping[str, int]] = {}
        self._due: list[Answer] = []
        """What must be told next, in this order."""
        self._held: dict[Key, Placement] = {}
        self._withdrawn: set[Key] = set()
        self._returned: set[Key] = set()
        """Who has given back what was recalled before it was told of that."""
        self._timers: dict[tuple[str, int, str], _Timer] = {}

    # -- the executor's side -------------------------------------------------------------------------

    def now(self) -> ClockTime:
        """The time; never less than before."""
        now = self._executor.now()
        if self._now_s is not None and now < self._now_s:
            raise ConformanceError(f"the clock went back, from {self._now_s!r} s to {now!r} s")
        self._now_s = now
        return now

    def perform(self, command: Command) -> None:
        """Pass a command on, and note what it asks for."""
        now = self.now()
        match command:
            case Start(pipeline, id_):
                self._running[pipeline, id_] = _Run(command, now)
            case Cancel(pipeline, id_):
                self._cancelled.add((pipeline, id_))
            case Acquire(pipeline, id_, _, needs):
                self._waiting[pipeline, id_] = needs
                self._due += self._allocator.request(command, ClockTime(0.0))
            case Release(pipeline, id_):
                self._let_go((pipeline, id_))
            case Arm(pipeline, id_, timer, delay_s):
                self._timers[pipeline, id_, timer] = _Timer(now + delay_s, None)
            case Disarm(pipeline, id_, timer):
                armed = self._timers.pop((pipeline, id_, timer))
                if armed.due_s <= now + _ROUNDING_S:  # it may have run out already, and be on its way
                    self._timers[pipeline, id_, timer] = armed._replace(disarmed_s=now)
        self.doing = f"perform({_told(command)})"
        try:
            self._executor.perform(command)
        except Exception as error:
            raise ConformanceError(f"{self.doing} raised {error!r}") from error
        self.now()

    def next(self) -> tuple[str, Event] | None:
        """What happens next, once it has been found to be in order."""
        self.doing = f"next(), while it owes: {self._owed() or 'nothing'}"
        try:
            happened = self._executor.next()
        except Exception as error:
            raise ConformanceError(f"next() raised {error!r}") from error
        now = self.now()
        if happened is None:
            if owed := self._owed():
                raise ConformanceError(f"next() says that nothing is left to happen, but it owes: {owed}")
            return None
        self._num_events += 1
        if self._num_events > _MAX_EVENTS:
            raise ConformanceError(f"events without end; the last is {happened!r}")
        pipeline, event = happened
        if pipeline not in PIPELINES or isinstance(event, Begin):
            raise ConformanceError(f"an event that nothing asks for: {happened!r}")
        match event:
            case Ended():
                self._ended((pipeline, event.id), event, now)
            case Granted():
                self._granted((pipeline, event.id), event.placement)
            case Recalled():
                self._recall_told((pipeline, event.id))
            case Fired():
                self._fired((pipeline, event.id, event.timer), now)
        return happened

    def close(self) -> None:
        """Pass it on."""
        self.doing = "close()"
        try:
            self._executor.close()
        except Exception as error:
            raise ConformanceError(f"close() raised {error!r}; it may be called twice") from error

    # -- the kit's side ------------------------------------------------------------------------------

    def ask(self, pipeline: str, id_: int, needs: Mapping[str, int], *, yields: bool = False) -> None:
        """Acquire units."""
        self.perform(Acquire(pipeline, id_, (None, "ask", id_, 0), needs, "", None, yields))

    def settle(self) -> None:
        """Let everything happen that is left to happen."""
        while self.next() is not None:
            pass

    def until_ended(self, pipeline: str, id_: int) -> None:
        """Let happen what comes before the end of this stage run, and that."""
        while (pipeline, id_) in self._running:
            self.next()

    def expect_clock_at_start(self) -> None:
        """A new executor's clock begins at 0."""
        now = self.now()
        if not 0.0 <= now < _AT_START_S:
            raise ConformanceError(f"the clock of a new executor must begin at 0 s, but shows {now!r} s")

    def expect_clock_beyond(self, seconds: float) -> None:
        """Stages one after the other have taken that long."""
        now = self.now()
        if now < seconds - _ROUNDING_S:
            raise ConformanceError(f"stages of {seconds!r} s one after the other ended when the clock showed {now!r} s")

    # -- what is in order ----------------------------------------------------------------------------

    def _ended(self, key: Key, event: Ended, now: float) -> None:
        run = self._running.pop(key, None)
        if run is None:
            how = "has ended already" if key in self._over else "was never started"
            raise ConformanceError(f"{_told(event)} for a stage run of pipeline {key[0]!r} that {how}")
        self._over.add(key)
        operation = run.start.stage.operation
        scripted = self._script[operation]
        what = f"operation {operation!r}"
        if event.outcome == CANCELLED and key in self._cancelled:
            return
        if scripted.raises is not None:
            told = event.values.get(ERROR_SLOT)
            raised = (type(scripted.raises).__name__, str(scripted.raises))
            if event.outcome != FAILED or not isinstance(told, dict):
                raise ConformanceError(f"{what} raised, so it must end 'failed' with slot 'error'; got {_told(event)}")
            if (told.get("type"), told.get("message")) != raised:
                raise ConformanceError(f"{what} raised {scripted.raises!r}; 'error' must tell type and message: {told}")
            return
        if (event.outcome, event.values) != (scripted.outcome, scripted.values):
            expected = Ended(event.id, scripted.outcome, scripted.values)
            raise ConformanceError(f"{what} of pipeline {key[0]!r} must end as {_told(expected)}; got {_told(event)}")
        took = now - run.started_s
        if took < scripted.seconds - _ROUNDING_S:
            raise ConformanceError(f"{what} takes {scripted.seconds!r} s, but ended {took!r} s after it was started")

    def _granted(self, key: Key, placement: Placement) -> None:
        told = f"pipeline {key[0]!r}, id {key[1]}, was granted {dict(placement)}"
        if key in self._withdrawn:
            self._withdrawn.remove(key)
            return
        needs = self._waiting.pop(key, None)
        if needs is None:
            raise ConformanceError(f"{told}, but waits for nothing")
        if {resource: len(units) for resource, units in placement.items()} != dict(needs):
            raise ConformanceError(f"{told}, but needs {dict(needs)}, all at once or nothing")
        granted = self._next_due(key, Granted, told)
        if {name: tuple(units) for name, units in placement.items()} != granted.placement:
            raise ConformanceError(f"{told}; the allocator would have granted {granted.placement}")
        self._held[key] = granted.placement

    def _recall_told(self, key: Key) -> None:
        told = f"pipeline {key[0]!r}, id {key[1]}, was told that its units are recalled"
        if key in self._returned:
            self._returned.remove(key)
            return
        self._next_due(key, Recalled, told)

    def _next_due(self, key: Key, kind: type[E], told: str) -> E:
        """The answer that is due next; ConformanceError if it is not one of this kind for `key`."""
        pipeline, event = self._due[0] if self._due else ("", None)
        if not isinstance(event, kind) or (pipeline, event.id) != key:
            expected = f"next is {(pipeline, event.id)}" if event is not None else "nobody is next"
            raise ConformanceError(f"{told} out of turn; in the allocator's order {expected}")
        del self._due[0]
        return event

    def _let_go(self, key: Key) -> None:
        late = self._returned
        if self._held.pop(key, None) is None:
            del self._waiting[key]
            late = self._withdrawn
        if any(_key_of(answer) == key for answer in self._due):
            late.add(key)  # it may be on its way
        self._due = [answer for answer in self._due if _key_of(answer) != key]
        self._due += self._allocator.release(key)

    def _fired(self, key: tuple[str, int, str], now: float) -> None:
        timer = self._timers.pop(key, None)
        told = f"timer {key[2]!r} of pipeline {key[0]!r}, id {key[1]},"
        if timer is None:
            raise ConformanceError(f"{told} ran out, but is not armed (any more)")
        if now < timer.due_s - _ROUNDING_S:
            raise ConformanceError(f"{told} ran out at {now!r} s, but not before {timer.due_s!r} s it should have")

    def _owed(self) -> str:
        runs = [f"the end of {run.start.stage.operation!r}" for run in self._running.values()]
        grants = [_told(event) for _, event in self._due]
        timers = [f"timer {key[2]!r} of id {key[1]}" for key, timer in self._timers.items() if timer.disarmed_s is None]
        return ", ".join((*runs, *grants, *timers))


def _key_of(answer: Answer) -> Key:
    pipeline, event = answer
    return pipeline, event.id


def _told(message: Command | Event) -> str:
    if isinstance(message, Granted):
        return f"a grant to id {message.id}"
    if isinstance(message, Start):
        return f"Start of {message.stage.operation!r} as id {message.id}"
    return repr(message)
