"""Stage runs that hold devices: when each will end as things stand, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import simpy

from sim.contention import Contention, Node
from sim.effects import Effect
from twinclock.allocator import Key
from twinclock.messages import Ended, Start

Schedule: TypeAlias = Callable[[float, tuple[str, Ended]], simpy.Timeout | None]
"""(seconds from now, what happens then) → its SimPy event; None if it happens at once."""
TakeBack: TypeAlias = Callable[[simpy.Timeout], bool]
"""Let an event not happen. False if it has."""


class Job(NamedTuple):
    """A stage run under way."""

    start: Start
    effect: Effect
    began_s: float
    ends_s: float
    timeout: simpy.Timeout | None
    stood_still_s: float | None = None
    """Seconds of its work that were done when it stopped working, to be put aside."""

    @property
    def devices(self) -> tuple[str, ...]:
        """That it holds."""
        return self.start.placement["device"]

    def end(self, ends_s: float) -> tuple[str, Ended]:
        """What happens if it goes on to its end, at this clock time."""
        outcome, values, load = self.effect.outcome, self.effect.values, self.effect.load
        if load is not None and load.values is not None:
            values = load.values(ends_s - self.began_s)
        return self.start.pipeline, Ended(self.start.id, outcome, values)


class Jobs:
    """The stage runs that hold devices now."""

    def __init__(self, nodes: Mapping[str, Node] | None, schedule: Schedule, take_back: TakeBack) -> None:
        """`nodes`: device → the node it is on; None: no job slows down another."""
        self._contention = None if nodes is None else Contention(nodes)
        self._schedule = schedule
        self._take_back = take_back
        self._jobs: dict[Key, Job] = {}

    def __bool__(self) -> bool:
        """Are there any?"""
        return bool(self._jobs)

    def get(self, key: Key) -> Job | None:
        """The job of a stage run, if it has one and its end has not been handed over."""
        return self._jobs.get(key)

    def on(self, devices: Sequence[str]) -> list[tuple[Key, Job]]:
        """Those that hold one of these devices."""
        return [(key, job) for key, job in self._jobs.items() if not set(devices).isdisjoint(job.devices)]

    def begin(self, start: Start, effect: Effect, now: float) -> tuple[Key, Job]:
        """A stage run begins; its end is scheduled."""
        key, seconds, load = (start.pipeline, start.id), effect.seconds, effect.load
        if self._contention is None or load is None or seconds <= 0.0:
            job = Job(start, effect, now, now + seconds, None)
            self._jobs[key] = job = job._replace(timeout=self._schedule(seconds, job.end(now + seconds)))
            return key, job
        self._jobs[key] = Job(start, effect, now, math.inf, None)
        self._move(self._contention.begin(key, load.devices, seconds, load.interference, now), now)
        return key, self._jobs[key]

    def done_s(self, key: Key, now: float) -> float:
        """Seconds of its work that are done: as many as have passed, if nothing slowed it down."""
        job = self._jobs[key]
        if job.stood_still_s is not None:
            return job.stood_still_s
        if self._contention is not None and key in self._contention:
            return job.effect.seconds - self._contention.left_s(key, now)
        return now - job.began_s

    def stand_still(self, key: Key, now: float) -> Job:
        """It stops working, to be put aside."""
        self._jobs[key] = job = self._jobs[key]._replace(stood_still_s=self.done_s(key, now))
        return job

    def end(self, key: Key, now: float) -> bool:
        """It has ended, or is broken off: those beside it go faster. Was its own end still ahead?"""
        timeout = self._jobs.pop(key).timeout
        is_ahead = timeout is not None and self._take_back(timeout)
        if self._contention is not None and key in self._contention:
            self._move(self._contention.end(key, now), now)
        return is_ahead

    def _move(self, ends_s: Mapping[Key, float], now: float) -> None:
        for key, end_s in ends_s.items():
            job = self._jobs[key]
            if end_s == job.ends_s or (job.timeout is not None and not self._take_back(job.timeout)):
                continue  # it stays, or is due at this moment and about to be handed over
            timeout = self._schedule(max(0.0, end_s - now), job.end(end_s))
            self._jobs[key] = job._replace(ends_s=end_s, timeout=timeout)
