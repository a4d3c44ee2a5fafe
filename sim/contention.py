"""Jobs that compute at the same time in the same place slow each other down.

A job that alone would take s seconds has a rate of progress 1 / (1 + d · others on its devices + n · others on its
nodes). The rate changes whenever a job begins or ends there, and with it the time when the job will be done. Which
jobs count: those that share a device with it, and of the rest those with a device on one of its nodes. With d = 1 the
jobs of a device have it in turns, which is processor sharing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from twinclock.allocator import Key

Node: TypeAlias = tuple[str, int]
"""(pool, number of the node in it)."""


class Interference(NamedTuple):
    """How much longer a job takes for each other one, as a share of its seconds alone."""

    same_device: float
    same_node: float


@dataclass(slots=True)
class _Job:
    devices: frozenset[str]
    nodes: frozenset[Node]
    interference: Interference
    left_s: float
    """Seconds that it would still take alone."""
    since_s: float
    """When that was so."""
    factor: float = 1.0
    """By how much it takes longer than alone, since then."""


class Contention:
    """The jobs that compute now."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        """`nodes`: device → the node it is on."""
        self._nodes = nodes
        self._jobs: dict[Key, _Job] = {}

    def begin(
        self, key: Key, devices: Sequence[str], seconds: float, interference: Interference, now: float
    ) -> dict[Key, float]:
        """A job begins that would take `seconds` alone. It and those that it slows down → when each will be done."""
        nodes = frozenset(self._nodes[device] for device in devices)
        self._jobs[key] = _Job(frozenset(devices), nodes, interference, seconds, now)
        return self._reckoned(nodes, now)

    def end(self, key: Key, now: float) -> dict[Key, float]:
        """A job is done, or was broken off. Those that go faster now → when each will be done."""
        return self._reckoned(self._jobs.pop(key).nodes, now)

    def __contains__(self, key: Key) -> bool:
        """Does this job compute?"""
        return key in self._jobs

    def left_s(self, key: Key, now: float) -> float:
        """Seconds that a job would still take alone."""
        job = self._jobs[key]
        return max(0.0, job.left_s - (now - job.since_s) / job.factor)

    def _reckoned(self, nodes: frozenset[Node], now: float) -> dict[Key, float]:
        done_s = {}
        for key, job in self._jobs.items():
            if job.nodes.isdisjoint(nodes):
                continue
            job.left_s = self.left_s(key, now)
            job.since_s, job.factor = now, self._factor(key, job)
            done_s[key] = now + job.left_s * job.factor
        return done_s

    def _factor(self, key: Key, job: _Job) -> float:
        others = [other for each, other in self._jobs.items() if each != key]
        on_devices = sum(not other.devices.isdisjoint(job.devices) for other in others)
        on_nodes = sum(not other.nodes.isdisjoint(job.nodes) for other in others) - on_devices
        return 1.0 + job.interference.same_device * on_devices + job.interference.same_node * on_nodes
