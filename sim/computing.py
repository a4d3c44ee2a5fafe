"""Stage runs whose ends move as others begin and end beside them, on a SimPy clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import simpy

from sim.contention import Contention, Interference, Node
from twinclock.allocator import Key

End: TypeAlias = Callable[[float], Any]
"""The seconds that it took → what is to be handed over at its end."""
Schedule: TypeAlias = Callable[[float, Any], simpy.Timeout]
"""(seconds from now, what is to be handed over then) → the SimPy event."""


class _Running(NamedTuple):
    began_s: float
    ends_s: float
    end: End
    timeout: simpy.Timeout | None


class Computing:
    """The stage runs that compute now, each with its end as things stand."""

    def __init__(self, nodes: Mapping[str, Node], schedule: Schedule) -> None:
        """`nodes`: device → the node it is on."""
        self._contention = Contention(nodes)
        self._schedule = schedule
        self._running: dict[Key, _Running] = {}

    def __bool__(self) -> bool:
        """Does any?"""
        return bool(self._running)

    def __contains__(self, key: Key) -> bool:
        """Does this one?"""
        return key in self._running

    def begin(
        self, key: Key, devices: Sequence[str], seconds: float, interference: Interference, end: End, now: float
    ) -> None:
        """Begin one that would take `seconds` alone."""
        self._running[key] = _Running(now, math.inf, end, None)
        self._move(self._contention.begin(key, devices, seconds, interference, now), now)

    def end(self, key: Key, now: float) -> bool:
        """It has ended, or is broken off: those beside it go faster. Was its own end still ahead?"""
        timeout = self._running.pop(key).timeout
        is_ahead = timeout is not None and _take_back(timeout)
        self._move(self._contention.end(key, now), now)
        return is_ahead

    def ends_s(self, key: Key) -> float:
        """When it will end, as things stand."""
        return self._running[key].ends_s

    def _move(self, ends_s: Mapping[Key, float], now: float) -> None:
        for key, end_s in ends_s.items():
            run = self._running[key]
            if end_s == run.ends_s or (run.timeout is not None and not _take_back(run.timeout)):
                continue  # it stays, or is due at this moment and about to be handed over
            timeout = self._schedule(max(0.0, end_s - now), run.end(end_s - run.began_s))
            self._running[key] = run._replace(ends_s=end_s, timeout=timeout)


def _take_back(timeout: simpy.Timeout) -> bool:
    """SimPy can't take an event back, but one without callbacks is none. False if it has happened."""
    if timeout.callbacks is None:
        return False
    timeout.callbacks = []
    return True
