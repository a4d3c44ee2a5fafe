"""One allocator for all pipelines of a fleet: devices are everyone's, slots and locks each pipeline's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinclock.allocator import Allocator, Grant, Key
from twinclock.messages import Placement
from twinclock.policies.placement import Place
from twinclock.stream import ClockTime

SHARED = "device"


class FleetAllocator:
    """An allocator in which every resource but devices exists once for each pipeline."""

    def __init__(
        self,
        units: Mapping[str, Mapping[str, Sequence[str]]],
        patience_s: Mapping[str, float],
        places: Mapping[str, Place],
    ) -> None:
        """`units`: pipeline → resource → units; the devices are the same for all."""
        everyones = {SHARED: next(iter(units.values()))[SHARED]}
        own = {_own(pipeline, name): each for pipeline, its in units.items() for name, each in its.items()}
        self._allocator = Allocator({**own, **everyones}, patience_s, places)

    def request(self, key: Key, needs: Mapping[str, int], queue: str, now: ClockTime) -> list[Grant]:
        """As `Allocator.request`."""
        mine = {_own(key[0], name): units for name, units in needs.items()}
        return [_told(grant) for grant in self._allocator.request(key, mine, queue, now)]

    def release(self, key: Key) -> list[Grant]:
        """As `Allocator.release`."""
        return [_told(grant) for grant in self._allocator.release(key)]

    def take_out(self, units: Sequence[str]) -> None:
        """As `Allocator.take_out`."""
        self._allocator.take_out(units)

    def put_back(self, units: Sequence[str]) -> list[Grant]:
        """As `Allocator.put_back`."""
        return [_told(grant) for grant in self._allocator.put_back(units)]


def _own(pipeline: str, resource: str) -> str:
    return resource if resource == SHARED else f"{pipeline}/{resource}"


def _told(grant: Grant) -> Grant:
    placement: Placement = {name.rpartition("/")[2]: units for name, units in grant.placement.items()}
    return Grant(grant.key, placement)
