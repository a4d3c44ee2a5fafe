"""The conformance kit: it passes the executors that keep their contract, and names the breach of those that don't."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sim.effects import Effect
from sim.executor import Body, SimExecutor
from twinclock.allocator import Allocator
from twinclock.conformance import PIPELINES, ConformanceError, Scripted, check_executor
from twinclock.executor import Executor
from twinclock.messages import (
    Acquire,
    Arm,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Fired,
    Granted,
    Recalled,
    Release,
    Start,
)
from twinclock.stream import ClockTime


def simulated(script: Mapping[str, Scripted], units: Mapping[str, Sequence[str]]) -> Executor:
    """The SimPy executor with bodies that do as scripted."""

    def body(scripted: Scripted) -> Body:
        def effect(start: Start, executor: SimExecutor) -> Effect:
            if scripted.raises is not None:
                raise scripted.raises
            return Effect(scripted.seconds, scripted.outcome, scripted.values)

        return effect

    bodies = {operation: body(scripted) for operation, scripted in script.items()}
    return SimExecutor(dict.fromkeys(PIPELINES, bodies), Allocator(units))


@pytest.mark.parametrize("second", [0.02, 1.0, 3600.0])
def test_the_simulator_keeps_the_contract(second):
    check_executor(simulated, second=second)


def test_a_clock_may_show_the_seconds_that_making_the_executor_took():
    class Late(Tampered):
        def now(self) -> ClockTime:
            return ClockTime(self.inner.now() + 5.0)

    check_executor(tampering(Late))


class Tampered:
    """Passes everything on to a simulator; subclasses do one thing wrong."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.num_now = 0
        self.more: list[tuple[str, Event]] = []
        """Events to hand over before any other."""

    def now(self) -> ClockTime:
        self.num_now += 1
        return self.inner.now()

    def perform(self, command: Command) -> None:
        self.inner.perform(command)

    def next(self) -> tuple[str, Event] | None:
        happened = self.more.pop() if self.more else self.inner.next()
        return None if happened is None else self.tell(*happened)

    def tell(self, pipeline: str, event: Event) -> tuple[str, Event] | None:
        return pipeline, event

    def close(self) -> None:
        self.inner.close()


def tampering(tampered: Callable[[Executor], Executor]) -> Any:
    return lambda script, units: tampered(simulated(script, units))


class SwallowsAnEnd(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return self.next() if isinstance(event, Ended) and event.id == 4 else (pipeline, event)


class SwallowsCancelledRuns(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return self.next() if isinstance(event, Ended) and event.outcome == "cancelled" else (pipeline, event)


class AnswersTwice(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Ended) and event.id == 2 and event not in [e for _, e in self.more]:
            self.more.append((pipeline, event))
        return pipeline, event


class AnswersWithoutEnd(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        self.more.append((pipeline, event))
        return pipeline, event


class InventsARun(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return pipeline, event._replace(id=500) if isinstance(event, Ended) else event


class IgnoresDisarm(Tampered):
    def perform(self, command: Command) -> None:
        if not isinstance(command, Disarm):
            super().perform(command)


class DisarmsEveryTimerOfANode(Tampered):
    def __init__(self, inner: Executor) -> None:
        super().__init__(inner)
        self.void: set[tuple[str, int]] = set()

    def perform(self, command: Command) -> None:
        if isinstance(command, Disarm):
            self.void.add((command.pipeline, command.id))
        super().perform(command)

    def tell(self, pipeline: str, event: Event) -> Any:
        return self.next() if isinstance(event, Fired) and (pipeline, event.id) in self.void else (pipeline, event)


class FiresEarly(Tampered):
    def perform(self, command: Command) -> None:
        super().perform(command._replace(delay_s=command.delay_s / 2) if isinstance(command, Arm) else command)


class ForgetsATimer(Tampered):
    def perform(self, command: Command) -> None:
        if not (isinstance(command, Arm) and command.timer == "backoff"):
            super().perform(command)


class ClockGoesBack(Tampered):
    def now(self) -> ClockTime:
        return ClockTime(super().now() + (1.0 if self.num_now == 3 else 0.0))


class ClockSaysWhatTimeItIs(Tampered):
    def now(self) -> ClockTime:
        return ClockTime(super().now() + 1.7e9)


class ClockStandsStill(Tampered):
    def now(self) -> ClockTime:
        return ClockTime(0.0)


class GrantsInPart(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Granted):
            event = event._replace(placement={name: units[:1] for name, units in event.placement.items()})
        return pipeline, event


class GrantsTheHighestFirst(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Granted) and "device" in event.placement:
            units = tuple(f"device:{2 - int(unit[-1])}" for unit in event.placement["device"])
            event = event._replace(placement={**event.placement, "device": units})
        return pipeline, event


class GrantsToEverybody(Tampered):
    def perform(self, command: Command) -> None:
        if isinstance(command, Acquire):
            units = {name: tuple(f"{name}:{k}" for k in range(n)) for name, n in command.needs.items()}
            self.more.insert(0, (command.pipeline, Granted(command.id, units)))
        elif not isinstance(command, Release):
            super().perform(command)


class ForgetsRelease(Tampered):
    def perform(self, command: Command) -> None:
        if not isinstance(command, Release):
            super().perform(command)


class SwallowsRecalls(Tampered):
    def next(self) -> tuple[str, Event] | None:
        happened = super().next()
        return self.next() if happened is not None and isinstance(happened[1], Recalled) else happened


class GrantsInTheWrongOrder(Tampered):
    def next(self) -> tuple[str, Event] | None:
        first = super().next()
        if first is None or not isinstance(first[1], Granted):
            return first
        second = self.inner.next()
        if second is None:
            return first
        self.more.append(first)
        return second


class MixesPipelinesUp(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return PIPELINES[1] if pipeline == PIPELINES[0] else PIPELINES[0], event


class KnowsOnePipelineOnly(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return PIPELINES[0], event


class CancelsInEveryPipeline(Tampered):
    def perform(self, command: Command) -> None:
        super().perform(command)
        if isinstance(command, Cancel):
            other = PIPELINES[1] if command.pipeline == PIPELINES[0] else PIPELINES[0]
            super().perform(command._replace(pipeline=other))


class RaisesWhatAStageRaises(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Ended) and event.outcome == "failed":
            raise RuntimeError("a stage failed")
        return pipeline, event


class HidesTheError(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Ended) and event.outcome == "failed":
            event = event._replace(values={"error": "something went wrong"})
        return pipeline, event


class LosesTheMessage(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        if isinstance(event, Ended) and event.outcome == "failed":
            event = event._replace(values={"error": {**event.values["error"], "message": ""}})
        return pipeline, event


class LosesValues(Tampered):
    def tell(self, pipeline: str, event: Event) -> Any:
        return pipeline, event._replace(values={}) if isinstance(event, Ended) and event.outcome == "ok" else event


class GivesUpAtTheFirstLull(Tampered):
    was_idle = False

    def next(self) -> tuple[str, Event] | None:
        happened = None if self.was_idle else super().next()
        self.was_idle = self.was_idle or happened is None
        return happened


class ClosesOnce(Tampered):
    is_closed = False

    def close(self) -> None:
        if self.is_closed:
            raise OSError("closed already")
        self.is_closed = True


BREACHES: list[tuple[type[Tampered], str]] = [
    (SwallowsAnEnd, "nothing is left to happen, but it owes: the end of 'D'"),
    (SwallowsCancelledRuns, "nothing is left to happen, but it owes: the end of 'long'"),
    (AnswersTwice, r"Ended\(id=2, .* for a stage run of pipeline 'one' that has ended already"),
    (AnswersWithoutEnd, "that has ended already"),
    (InventsARun, "for a stage run of pipeline 'one' that was never started"),
    (IgnoresDisarm, "timer 'timeout' of pipeline 'one', id 2, ran out, but is not armed"),
    (DisarmsEveryTimerOfANode, "it owes: timer 'backoff' of id 0"),
    (FiresEarly, "ran out at .* s, but not before .* s it should have"),
    (ForgetsATimer, "it owes: timer 'backoff' of id 3"),
    (ClockGoesBack, "the clock went back, from 1.0 s to"),
    (ClockSaysWhatTimeItIs, "the clock of a new executor must begin at 0 s, but shows 1700000000.0 s"),
    (ClockStandsStill, "takes .* s, but ended 0.0 s after it was started"),
    (GrantsInPart, r"was granted {'device': \('device:0',\)}, but needs {'device': 2}, all at once or nothing"),
    (GrantsTheHighestFirst, "the allocator would have granted"),
    (GrantsToEverybody, "the allocator would have granted {'device': \\('device:2',\\)}"),
    (ForgetsRelease, "it owes: a grant to id 2, a grant to id 3"),
    (SwallowsRecalls, r"it owes: Recalled\(id=2\), Recalled\(id=1\)"),
    (GrantsInTheWrongOrder, r"out of turn; in the allocator's order next is \('other', 0\)"),
    (MixesPipelinesUp, "for a stage run of pipeline 'other' that was never started"),
    (KnowsOnePipelineOnly, "pipeline 'one' that was never started"),
    (CancelsInEveryPipeline, "for a stage run of pipeline 'other' that was never started"),
    (RaisesWhatAStageRaises, r"next\(\) raised RuntimeError\('a stage failed'\)"),
    (HidesTheError, "operation 'raises' raised, so it must end 'failed' with slot 'error'"),
    (LosesTheMessage, "'error' must tell type and message"),
    (LosesValues, "operation 'short' of pipeline 'one' must end as"),
    (GivesUpAtTheFirstLull, "nothing is left to happen, but it owes: the end of 'late'"),
    (ClosesOnce, r"close\(\) raised OSError\('closed already'\); it may be called twice"),
]


@pytest.mark.parametrize(("broken", "message"), BREACHES)
def test_a_breach_is_told_in_a_sentence(broken, message):
    with pytest.raises(ConformanceError, match=message) as raised:
        check_executor(tampering(broken))
    assert "\n" not in str(raised.value)


def test_an_executor_that_cuts_work_short_is_found_out():
    def maker(script: Mapping[str, Scripted], units: Any) -> Executor:
        return simulated({name: each._replace(seconds=each.seconds / 2) for name, each in script.items()}, units)

    with pytest.raises(ConformanceError, match=r"operation 'A' takes 1.0 s, but ended 0.5 s after it was started"):
        check_executor(maker, second=1.0)


def test_an_executor_that_hangs_is_given_up():
    class Hangs(Tampered):
        def next(self) -> tuple[str, Event] | None:
            happened = super().next()
            if happened is None:
                threading.Event().wait(30)
            return happened

    with pytest.raises(ConformanceError, match=r"stuck for 0.2 s in next\(\), while it owes: nothing"):
        check_executor(tampering(Hangs), patience_s=0.2)


def test_what_the_maker_raises_comes_through():
    def maker(script: Any, units: Any) -> Executor:
        raise OSError("no such cluster")

    with pytest.raises(OSError, match="no such cluster"):
        check_executor(maker)
