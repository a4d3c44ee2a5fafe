"""What an executor and the machines owe each other: every command answered once, and nothing left in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dst.witness import Witness
from twinclock.cluster import modelled_devices
from twinclock.messages import Acquire, Arm, Cancel, Disarm, Ended, Finish, Fired, Granted, Release, Start

_ROUNDING_S = 1e-9


def the_clock_never_goes_back(witnessed: Witness) -> None:
    """Over all pipelines."""
    for earlier, later in pairwise(witnessed.steps):
        assert earlier.now <= later.now, f"from {earlier.now} s back to {later.now} s"


def every_start_has_one_end(witnessed: Witness) -> None:
    """A stage run ends once, `cancelled` only where that was asked for."""
    running: dict[tuple[str, int], Start] = {}
    cancelled: set[tuple[str, int]] = set()
    for pipeline, _, event, commands in witnessed.steps:
        if isinstance(event, Ended):
            start = running.pop((pipeline, event.id), None)
            assert start is not None, f"{event} for what does not run"
            known = (*start.stage.outcomes, "failed")
            assert event.outcome in known or (pipeline, event.id) in cancelled, f"{start.stage.operation}: {event}"
        for command in commands:
            if isinstance(command, Start):
                assert (pipeline, command.id) not in running, f"id {command.id} was given out twice"
                running[pipeline, command.id] = command
            elif isinstance(command, Cancel):
                assert (pipeline, command.id) in running, f"{command} of what does not run"
                cancelled.add((pipeline, command.id))
    assert not running, f"never ended: {[start.stage.operation for start in running.values()]}"


def every_timer_fires_on_time_or_is_disarmed(witnessed: Witness) -> None:
    """And not both, and not twice."""
    armed: dict[tuple[str, int, str], float] = {}
    for pipeline, now, event, commands in witnessed.steps:
        if isinstance(event, Fired):
            due_s = armed.pop((pipeline, event.id, event.timer), None)
            assert due_s is not None, f"{event}, which is not armed"
            assert abs(now - due_s) <= _ROUNDING_S * max(1.0, now), f"{event} at {now} s, not at {due_s} s"
        for command in commands:
            if isinstance(command, Arm):
                armed[pipeline, command.id, command.timer] = now + command.delay_s
            elif isinstance(command, Disarm):
                assert armed.pop((pipeline, command.id, command.timer), None) is not None, f"{command} of no timer"
    assert not armed, f"never fired: {list(armed)}"


def nothing_is_left_at_the_end(witnessed: Witness) -> None:
    """At `Finish` nothing of the pipeline is held, queued, armed or running; afterwards nothing of it happens."""
    open_: dict[str, dict[Any, str]] = {name: {} for name in witnessed.pipelines}
    finished: set[str] = set()
    for pipeline, _, event, commands in witnessed.steps:
        assert pipeline not in finished, f"{pipeline}: {event} after its end"
        left = open_[pipeline]
        if isinstance(event, Ended):
            left.pop(("run", event.id), None)
        elif isinstance(event, Fired):
            left.pop((event.timer, event.id), None)
        for command in commands:
            match command:
                case Start():
                    left["run", command.id] = command.stage.operation
                case Acquire():
                    left["units", command.id] = f"request for {dict(command.needs)}"
                case Release():
                    assert left.pop(("units", command.id), None), f"{command} of nothing"
                case Arm():
                    left[command.timer, command.id] = f"timer {command.timer}"
                case Disarm():
                    left.pop((command.timer, command.id), None)
                case Finish():
                    assert not left, f"{pipeline} has finished, but there is still: {left}"
                    assert command is commands[-1], "something follows Finish"
                    finished.add(pipeline)
    assert finished == set(witnessed.pipelines), "a pipeline has not finished"


@dataclass
class _Line:
    """A second allocator, written from its rules: one line, no heaps."""

    patience_s: Mapping[str, float]
    free: dict[str, set[str]]
    pool_of: Mapping[str, str]
    placements: Mapping[tuple[str, int], Mapping[str, tuple[str, ...]]]
    """What each request was granted in the end."""
    waiting: list[tuple[float, int, tuple[str, int], dict[str, int]]] = field(default_factory=list)
    held: dict[tuple[str, int], Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    serial: int = 0

    def ask(self, command: Acquire, now: float) -> list[tuple[str, int]]:
        needs = {_resource(command.pipeline, name): num for name, num in command.needs.items()}
        self.serial += 1
        place_s = now + self.patience_s.get(command.queue, 0.0)
        self.waiting.append((place_s, self.serial, (command.pipeline, command.id), needs))
        self.waiting.sort(key=lambda request: request[:2])
        return self.grant()

    def give_back(self, key: tuple[str, int]) -> list[tuple[str, int]]:
        for resource, units in self.held.pop(key, {}).items():
            self.free[resource] |= set(units)
        self.waiting = [request for request in self.waiting if request[2] != key]
        return self.grant()

    def grant(self) -> list[tuple[str, int]]:
        """Whoever fits, in turn; one that does not fit holds back those behind it that want the same."""
        granted, blocked = [], set()
        for request in list(self.waiting):
            _, _, key, needs = request
            if blocked.isdisjoint(needs) and all(self.fits(*need) for need in needs.items()):
                self.waiting.remove(request)
                assert key in self.placements, f"{key} is next for {needs}, which is free, and never gets it"
                units = {_resource(key[0], name): units for name, units in self.placements[key].items()}
                for resource, names in units.items():
                    taken = set(names) - self.free[resource]
                    assert not taken, f"{key} was granted {sorted(taken)} of {resource}, which is not free"
                    self.free[resource] -= set(names)
                self.held[key] = units
                granted.append(key)
            else:
                blocked |= set(needs)
        return granted

    def fits(self, resource: str, num: int) -> bool:
        pools = [self.pool_of.get(unit, "") for unit in self.free[resource]]
        return any(pools.count(pool) >= num for pool in set(pools))


def grants_follow_the_line(witnessed: Witness) -> None:
    """Each request is granted at the very moment at which it is its turn and it fits, in the order of the line.

    So no device idles while the head of the line could use it, and no unit is held twice.
    """
    devices = modelled_devices(witnessed.cluster)
    free = {"device": {device.name for device in devices}}
    for name, seen in witnessed.pipelines.items():
        at_once = 1 if seen.run.config.overlap is None else seen.run.config.overlap.trainings_at_once
        free[f"{name}/training_slot"] = {f"slot:{index}" for index in range(at_once)}
        free[f"{name}/admission"] = {"admission"}
    placements = {
        (step.pipeline, step.event.id): step.event.placement
        for step in witnessed.steps
        if isinstance(step.event, Granted)
    }
    line = _Line(
        {"evaluation": witnessed.cluster.patience.evaluation},
        free,
        {device.name: device.pool for device in devices},
        placements,
    )
    expected: list[tuple[tuple[str, int], float]] = []
    """Who is to be told next, in this order, and the moment at which it was decided."""
    needs: dict[tuple[str, int], dict[str, int]] = {}
    for pipeline, now, event, commands in witnessed.steps:
        if isinstance(event, Granted):
            key = (pipeline, event.id)
            assert expected[:1] == [(key, now)], f"granted to {key} at {now} s; it was the turn of {expected[:1]}"
            expected.pop(0)
            assert {name: len(units) for name, units in event.placement.items()} == needs[key]
        for command in commands:
            granted: list[tuple[str, int]] = []
            if isinstance(command, Acquire):
                needs[pipeline, command.id] = dict(command.needs)
                granted = line.ask(command, now)
            elif isinstance(command, Release):
                granted = line.give_back((pipeline, command.id))
            expected += [(key, now) for key in granted]
    assert not line.waiting, f"left in the line: {line.waiting}"
    assert not line.held, f"never given back: {line.held}"


def _resource(pipeline: str, name: str) -> str:
    return name if name == "device" else f"{pipeline}/{name}"
