"""The executor whose clock is SimPy's: a run of weeks takes the time that its events take to compute."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import simpy

from sim.contention import Node
from sim.effects import Effect
from sim.jobs import Job, Jobs
from twinclock.allocator import Answer, Granting, Key
from twinclock.errors import ProtocolError
from twinclock.executor import failure
from twinclock.graph import CANCELLED, ERROR_SLOT, FAILED, Json
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
    Outage,
    Recalled,
    Release,
    Start,
)
from twinclock.stream import ClockTime

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
        answer_s: Callable[[str, Granted | Recalled], float] | None = None,
    ) -> None:
        """`nodes`: device → the node it is on; None: no job slows down another.

        `answer_s`: seconds until a pipeline hears that it was granted units, or is to give them back; None: at once.
        """
        self.environment = simpy.Environment()
        self.stopping = False
        """Set by `stop`: sources end with `stop`, and the pipeline drains."""
        self._bodies = bodies
        self._allocator = allocator
        self._answer_s = answer_s
        self._prompt: deque[tuple[str, Event]] = deque()
        """What happened without time passing, to be handed over next."""
        self._due: deque[simpy.Event] = deque()
        """What the clock has reached; the value of each is (pipeline, event)."""
        self._void: set[tuple[str, int, str]] = set()
        """Ends and timers that are due or lie ahead, and must not be handed over any more."""
        self._num_ahead = 0
        """How much the clock has still to reach that somebody may be waiting for."""
        self._jobs = Jobs(nodes, self._after, self._take_back)
        self._open = dict.fromkeys(bodies)
        """Pipelines that have not finished."""
        self._out: dict[str, int] = {}
        """Device → for how many reasons nobody is granted it."""
        self._going: dict[str, float] = {}
        """Device → the clock time at which it will be gone."""
        self._gone: dict[str, list[Mapping[str, Json]]] = {}
        """Device → why it is gone, each as the error of what would use it."""
        self._now = ClockTime(0.0)
        self._collects_garbage = gc.isenabled()
        gc.disable()  # a run makes millions of records and no cycles: looking for some would cost a third of the time

    def now(self) -> ClockTime:
        """Seconds of simulated time since the run's start."""
        return self._now

    def next(self) -> tuple[str, Event] | None:
        """Let simulated time pass until something is ready."""
        prompt, due, step = self._prompt, self._due, self.environment.step
        happened: Any = None
        while not prompt and happened is None:
            while not due and not prompt:
                if not self._num_ahead:
                    return None
                step()
            if due:
                happened = due.popleft().value
                self._num_ahead -= 1
                if self._void and self._forget(happened):
                    happened = None
                else:
                    self._now = ClockTime(self.environment.now)
        if happened is None:
            happened = prompt.popleft()
        if self._jobs and type(happened[1]) is Ended:
            key = (happened[0], happened[1].id)
            if self._jobs.get(key) is not None:
                self._jobs.end(key, self._now)
        return happened  # type: ignore[no-any-return]  # SimPy's events hold anything; these, a pair

    def perform(self, command: Command) -> None:
        """Begin to carry out a command."""
        if type(command) is Start:
            pipeline = command.pipeline
            try:
                effect = self._bodies[pipeline][command.stage.operation](command, self)
            except Exception as error:
                self._prompt.append((pipeline, failure(command.id, error)))
                return
            if command.placement and "device" in command.placement:
                self._note_job(*self._jobs.begin(command, effect, self._now))
            else:
                # tuple.__new__ gives the same Ended as Ended(…), at a third of its price
                ended = tuple.__new__(Ended, (command.id, effect.outcome, effect.values))
                self._after(effect.seconds, (pipeline, ended))
            return
        match command:
            case Acquire():
                self._answer(self._allocator.request(command, self._now))
            case Release(pipeline, id_):
                self._answer(self._allocator.release((pipeline, id_)))
            case Arm(pipeline, id_, timer, delay_s):
                self._after(delay_s, (pipeline, Fired(id_, timer)))
            case Disarm(pipeline, id_, timer):
                self._void.add((pipeline, id_, timer))
            case Cancel(pipeline, id_):
                self.end_now((pipeline, id_), CANCELLED, _NOTHING)
            case Finish(pipeline):
                self._open.pop(pipeline, None)
            case _:
                raise ProtocolError(f"unknown command {command!r}")

    def end_now(self, key: Key, outcome: str, values: Mapping[str, Json]) -> None:
        """End a stage run before its time, unless its end is to be handed over next."""
        if any(type(event) is Ended and (who, event.id) == key for who, event in self._prompt):
            return
        job = self._jobs.get(key)
        if job is not None and job.effect.work is not None:
            told = job.effect.work.stopped(self._jobs.done_s(key, self._now))
            values = {**values, **told} if outcome in (FAILED, CANCELLED) else values
        self._end_otherwise(key, outcome, values)

    def job(self, key: Key) -> Job | None:
        """A stage run that holds devices, as things stand; None once its end was handed over."""
        return self._jobs.get(key)

    def stop(self) -> None:
        """Ask every pipeline to take no more data, finish what it has, and be done."""
        self.stopping = True

    def close(self) -> None:
        """Nothing is held but the garbage collector's pause."""
        if self._collects_garbage:
            gc.enable()

    # -- what happens beside the pipelines -------------------------------------------------------------

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something that pipelines may be waiting for."""

        def happen() -> None:
            self._num_ahead -= 1
            action()

        self._num_ahead += 1
        self.meanwhile(delay_s, happen)

    def meanwhile(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something if the run lasts so long; nobody waits for it."""

        def happen(_event: simpy.Event) -> None:
            self._now = ClockTime(self.environment.now)
            action()

        simpy.Timeout(self.environment, delay_s).callbacks = [happen]

    def take_out(self, devices: Sequence[str]) -> None:
        """Nobody is granted these devices any more, until they have been brought back as often as taken out."""
        self._allocator.take_out([device for device in devices if not self._out.get(device)])
        for device in devices:
            self._out[device] = self._out.get(device, 0) + 1

    def give_notice(self, device: str, gone_s: float) -> None:
        """A device that was taken out will be gone at a clock time: whoever works on it may put its work aside."""
        self._going[device] = gone_s
        for key, job in self._jobs.on([device]):
            self._hear(key, job, gone_s)

    def lose(self, outage: Outage, error: Mapping[str, Json]) -> None:
        """Devices that were taken out are gone: what is done on them fails with `error`."""
        for device in outage.devices:
            self._going.pop(device, None)
            self._gone.setdefault(device, []).append(error)
        self._prompt.extend((pipeline, outage) for pipeline in self._open)
        for key, job in self._jobs.on(outage.devices):
            self._end_if_gone(key, job)

    def bring_back(self, devices: Sequence[str]) -> None:
        """Devices that were lost are there again; what waits for them may be granted them."""
        for device in devices:
            self._gone[device].pop()
            if not self._gone[device]:
                del self._gone[device]
            self._out[device] -= 1
        self._answer(self._allocator.put_back([device for device in devices if not self._out[device]]))

    def _answer(self, answers: Sequence[Answer]) -> None:
        if self._answer_s is None:
            self._prompt.extend(answers)
        else:
            for pipeline, answer in answers:
                self._after(self._answer_s(pipeline, answer), (pipeline, answer))

    def _note_job(self, key: Key, job: Job) -> None:
        if self._gone:
            self._end_if_gone(key, job)
        if self._going and (gone_s := [self._going[device] for device in job.devices if device in self._going]):
            self._hear(key, job, min(gone_s))

    def _end_if_gone(self, key: Key, job: Job) -> None:
        """A job whose devices are gone fails. A decision is made beside them, so it only ends at once."""
        why = next((self._gone[device][-1] for device in job.devices if device in self._gone), None)
        if why is None:
            return
        if job.start.stage.kind == "decide":
            self.end_now(key, job.effect.outcome, job.effect.values)
        else:
            self.end_now(key, FAILED, {ERROR_SLOT: why})

    def _hear(self, key: Key, job: Job, gone_s: float) -> None:
        """A job that will not be done when its device is gone may be put aside before."""
        work = job.effect.work
        if work is None or job.ends_s <= gone_s or job.stood_still_s is not None:
            return
        effect = work.put_aside(self._jobs.done_s(key, self._now), gone_s - self._now)
        if effect is None:
            return
        self._jobs.stand_still(key, self._now)

        def put_aside() -> None:
            still = self._jobs.get(key)
            if still is not None and still.start is job.start:
                self._end_otherwise(key, effect.outcome, effect.values)

        self.later(effect.seconds, put_aside)

    def _end_otherwise(self, key: Key, outcome: str, values: Mapping[str, Json]) -> None:
        """A stage run ends now, and not as was planned."""
        pipeline, id_ = key
        if self._jobs.get(key) is None or not self._jobs.end(key, self._now):
            self._void.add((pipeline, id_, _END))
        self._prompt.append((pipeline, Ended(id_, outcome, values)))

    def _after(self, seconds: float, happens: tuple[str, Event]) -> simpy.Timeout | None:
        if seconds > 0.0:
            self._num_ahead += 1
            timeout = simpy.Timeout(self.environment, seconds, happens)
            timeout.callbacks = [self._due.append]
            return timeout
        self._prompt.append(happens)
        return None

    def _take_back(self, timeout: simpy.Timeout) -> bool:
        """SimPy has no way to take an event back, but one without callbacks is none. False if it has happened."""
        if timeout.callbacks is None:
            return False
        timeout.callbacks = []
        self._num_ahead -= 1
        return True

    def _forget(self, happened: tuple[str, Ended | Fired]) -> bool:
        pipeline, event = happened
        key = (pipeline, event.id, event.timer if isinstance(event, Fired) else _END)
        if key not in self._void:
            return False
        self._void.remove(key)
        return True
