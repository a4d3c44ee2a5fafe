"""What an executor and the machines owe each other: every command answered once, and nothing left in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from dst.witness import Witness
from twinclock.cluster import modelled_devices
from twinclock.messages import (
    Acquire,
    Arm,
    Cancel,
    Disarm,
    Ended,
    Finish,
    Fired,
    Granted,
    Outage,
    Recalled,
    Release,
    Start,
)

Key: TypeAlias = tuple[str, int]
"""(pipeline, id) of a request."""

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

    rank: Callable[[Acquire, float], float]
    """A request's place among those for devices."""
    free: dict[str, Counter[str]]
    """Resource → unit → how many jobs it can still take."""
    fits: Callable[[Acquire, Counter[str]], bool]
    """Are there enough devices among those that can take a job?"""
    placements: Mapping[Key, Mapping[str, tuple[str, ...]]]
    """What each request was granted in the end."""
    waiting: list[tuple[float, int, Acquire]] = field(default_factory=list)
    held: dict[Key, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    """Devices that are away."""
    serial: int = 0

    def ask(self, command: Acquire, now: float) -> list[Key]:
        self.serial += 1
        place = self.rank(command, now) if "device" in command.needs else now
        self.waiting.append((place, self.serial, command))
        self.waiting.sort(key=lambda request: request[:2])
        return self.grant()

    def give_back(self, key: Key) -> list[Key]:
        for resource, units in self.held.pop(key, {}).items():
            self.free[resource].update(units)
        self.waiting = [request for request in self.waiting if _key(request[2]) != key]
        return self.grant()

    def grant(self) -> list[Key]:
        """Whoever fits, in turn; one that does not fit holds back those behind it that want the same."""
        granted, blocked = [], set()
        for request in list(self.waiting):
            ask = request[2]
            key, needs = _key(ask), {_resource(ask.pipeline, name) for name in ask.needs}
            if blocked.isdisjoint(needs) and self.is_there_for(ask):
                self.waiting.remove(request)
                assert key in self.placements, f"{key} is next for {needs}, which is free, and never gets it"
                units = {_resource(ask.pipeline, name): units for name, units in self.placements[key].items()}
                for resource, names in units.items():
                    for name in names:
                        is_free = self.free[resource][name] > 0 and name not in self.out
                        assert is_free, f"{key} was granted {name} of {resource}, which is not free"
                        self.free[resource][name] -= 1
                self.held[key] = units
                granted.append(key)
            else:
                blocked |= needs
        return granted

    def is_there_for(self, ask: Acquire) -> bool:
        for name, num in ask.needs.items():
            free = self.free[_resource(ask.pipeline, name)]
            if name == "device":
                there = Counter({unit: free[unit] for unit in free if free[unit] > 0 and unit not in self.out})
                if not self.fits(ask, there):
                    return False
            elif sum(free.values()) < num:
                return False
        return True


def grants_follow_the_line(witnessed: Witness) -> None:
    """Each request is granted at the very moment at which it is its turn and it fits, in the order of the line.

    So no device idles while the head of the line could use it, and none has more jobs than it takes. Of clusters with
    spot devices nobody can tell from the events when a notice was given, nor when units were granted where pipelines
    hear of it later, so they are not looked at.
    """
    devices, cluster = modelled_devices(witnessed.cluster), witnessed.cluster
    if any(device.kind.spot is not None for device in devices) or _hears_later(witnessed):
        return
    free = {"device": Counter({device.name: cluster.jobs_per_device for device in devices})}
    for name, seen in witnessed.pipelines.items():
        at_once = 1 if seen.run.config.overlap is None else seen.run.config.overlap.trainings_at_once
        free[f"{name}/training_slot"] = Counter({f"slot:{index}": 1 for index in range(at_once)})
        free[f"{name}/admission"] = Counter({"admission": 1})
        free[f"{name}/activation"] = Counter({"activation": 1})
    placements = {
        (step.pipeline, step.event.id): step.event.placement
        for step in witnessed.steps
        if isinstance(step.event, Granted)
    }
    line = _Line(_rank(witnessed), free, _fits(witnessed), placements)
    expected: list[tuple[Key, float]] = []
    """Who is to be told next, in this order, and the moment at which it was decided."""
    needs: dict[Key, dict[str, int]] = {}
    back: list[tuple[float, tuple[str, ...]]] = []
    """When devices that are away come back."""
    for pipeline, now, event, commands in witnessed.steps:
        while back and back[0][0] <= now:
            at_s, names = back.pop(0)
            line.out.difference_update(names)
            expected += [(key, at_s) for key in line.grant()]
        if isinstance(event, Outage) and not line.out.issuperset(event.devices):
            line.out.update(event.devices)
            back = sorted([*back, (event.until_s, event.devices)])
        if isinstance(event, Granted):
            key = (pipeline, event.id)
            assert expected[:1] == [(key, now)], f"granted to {key} at {now} s; it was the turn of {expected[:1]}"
            expected.pop(0)
            assert {name: len(units) for name, units in event.placement.items()} == needs[key]
        for command in commands:
            granted: list[Key] = []
            if isinstance(command, Acquire):
                needs[pipeline, command.id] = dict(command.needs)
                granted = line.ask(command, now)
            elif isinstance(command, Release):
                granted = line.give_back((pipeline, command.id))
            expected += [(key, now) for key in granted]
    assert not line.waiting, f"left in the line: {line.waiting}"
    assert not line.held, f"never given back: {line.held}"


def _rank(witnessed: Witness) -> Callable[[Acquire, float], float]:
    cluster = witnessed.cluster
    epochs = {name: seen.run.config.training.epochs for name, seen in witnessed.pipelines.items()}

    def place(ask: Acquire, now: float) -> float:
        is_evaluation = ask.queue == "evaluation"
        match cluster.discipline:
            case "priority":
                return now + cluster.patience.evaluation * is_evaluation
            case "preemptive":
                return math.inf if is_evaluation else now
            case "shortest_first" if ask.queue == "training":
                return ask.work["num_samples"] * epochs[ask.pipeline]
            case "shortest_first":
                return sum(each["stop"] - each["first"] for each in (ask.work or {"intervals": ()})["intervals"])
        return now

    return place


def _fits(witnessed: Witness) -> Callable[[Acquire, Counter[str]], bool]:
    """All devices of one pool, each with enough memory."""
    devices = {device.name: device for device in modelled_devices(witnessed.cluster)}

    def fits(ask: Acquire, free: Counter[str]) -> bool:
        config = witnessed.pipelines[ask.pipeline].run.config
        wanted = config.training.memory_bytes if ask.queue == "training" else config.evaluation.memory_bytes
        roomy = []
        for name in free:
            has = devices[name].kind.memory_bytes
            if has is None or wanted * witnessed.cluster.jobs_per_device <= has:
                roomy.append(devices[name].pool)
        return any(roomy.count(pool) >= ask.needs["device"] for pool in set(roomy))

    return fits


def what_yields_is_recalled_only_for_what_does_not(witnessed: Witness) -> None:
    """And only while somebody waits; what was recalled is given back at that moment, and asked for anew.

    Where pipelines hear of it later, whoever waited may have gone by then.
    """
    if _hears_later(witnessed):
        return
    yields: dict[Key, bool] = {}
    waiting: set[Key] = set()
    held: set[Key] = set()
    recalled: dict[Key, float] = {}
    for pipeline, now, event, commands in witnessed.steps:
        key = (pipeline, getattr(event, "id", -1))
        if isinstance(event, Granted):
            waiting.discard(key)
            held.add(key)
        elif isinstance(event, Recalled):
            assert yields[key], f"{key} does not yield"
            if key in held:  # else it was on its way when the evaluation gave back what it had, at the same moment
                assert any(not yields[each] for each in waiting), f"{key} is recalled for nobody"
                recalled[key] = now
        for command in commands:
            if isinstance(command, Acquire):
                yields[_key(command)] = command.yields
                waiting.add(_key(command))
            elif isinstance(command, Release):
                waiting.discard((pipeline, command.id))
                held.discard((pipeline, command.id))
                assert recalled.pop((pipeline, command.id), now) == now, f"{command} only at {now} s"
    assert not recalled, f"never given back: {recalled}"


def _hears_later(witnessed: Witness) -> bool:
    """Is it a while until some pipeline knows that units were granted, or are to be given back?"""
    return any(seen.sim.costs.grant_s > 0 for seen in witnessed.pipelines.values())


def _key(ask: Acquire) -> Key:
    return ask.pipeline, ask.id


def _resource(pipeline: str, name: str) -> str:
    return name if name == "device" else f"{pipeline}/{name}"
