"""The whole interface between a graph and the world it runs in, and the loop that joins the two."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from twinclock.errors import DeadlockError
from twinclock.graph import ERROR_SLOT, FAILED, Json
from twinclock.machine import Machine
from twinclock.messages import Begin, Command, Ended, Event, Finish
from twinclock.stream import ClockTime


class Executor(Protocol):
    """A world in which commands are carried out: modelled on a SimPy clock, or real.

    Every `Start` is answered by exactly one `Ended`, also after `Cancel`; every `Acquire` by one
    `Granted`, unless it is released before; every `Arm` by one `Fired`, unless it is disarmed before.
    One executor can serve several pipelines; `check_executor` shows whether an executor keeps this.
    """

    def now(self) -> ClockTime:
        """Seconds on this executor's clock since the run's start; never goes back."""

    def perform(self, command: Command) -> None:
        """Begin to carry out a command; returns at once, what comes of it is an event."""

    def next(self) -> tuple[str, Event] | None:
        """The next event and the pipeline that it belongs to; waits for it. None if nothing is left to happen."""

    def close(self) -> None:
        """Give up everything the executor holds (processes, files); may be called twice."""


@runtime_checkable
class SuspendingExecutor(Executor, Protocol):
    """An executor whose work can be put aside. One without `suspend` is closed at once when a run is interrupted."""

    def suspend(self) -> None:
        """Begin nothing more, and let what is under way keep what it can; returns after a grace time at the latest.

        What comes of it is no event any more: a run that goes on later performs open commands again. Only `close`
        follows, also when a second interrupt cuts this short.
        """


class Observer(Protocol):
    """Sees every event and what followed from it, before the commands are performed."""

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """`event` happened at `now`, and the machine answered with `commands`."""


def failure(id_: int, error: BaseException) -> Ended:
    """The event of a stage run that raised: `failed`, with type, message and traceback in the slot `error`."""
    told: Json = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    return Ended(id_, FAILED, {ERROR_SLOT: told})


def drive(machines: Mapping[str, Machine], executor: Executor, observers: Mapping[str, Observer]) -> dict[str, Finish]:
    """Run every pipeline to its end; pipelines that have begun already (after a resume) go on.

    Raises DeadlockError if stage runs are open and nothing is left that could end them.
    """
    open_ = [pipeline for pipeline, machine in machines.items() if machine.finished is None]
    fresh = [pipeline for pipeline in open_ if not machines[pipeline].begun]
    num_open = len(open_)
    while num_open:
        happened = (fresh.pop(0), Begin({})) if fresh else executor.next()
        if happened is None:
            waits = [line for pipeline in open_ for line in machines[pipeline].open_stage_runs()]
            raise DeadlockError("nothing is left to happen, but: " + "; ".join(waits))
        pipeline, event = happened
        machine = machines[pipeline]
        now = executor.now()
        commands = machine.feed(event)
        observers[pipeline].record(now, event, commands)
        for command in commands:
            executor.perform(command)
        if machine.finished is not None:
            num_open = sum(each.finished is None for each in machines.values())
    finishes = {pipeline: machine.finished for pipeline, machine in machines.items()}
    return {pipeline: finish for pipeline, finish in finishes.items() if finish is not None}
