"""Who is granted which units of a resource, and when. The same for every executor, so no executor has its own queue.

The rules:

1. A request is granted whole or not at all: the first free units, or those that a placement policy chooses.
2. Requests stand in one line. A request's place is its time of asking plus the patience of its queue: a
   queue with a patience of 600 s lets any other pass that asks less than 600 s after it, so nothing
   waits for ever.
3. A request that does not fit holds back every later one that shares a resource with it, so a large
   request is not starved by small ones.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from twinclock.messages import Placement
from twinclock.policies.placement import Place
from twinclock.stream import ClockTime

Key: TypeAlias = tuple[str, int]
"""(pipeline, id) of the request."""


class Grant(NamedTuple):
    """Units handed to a request."""

    key: Key
    placement: Placement


class _Request(NamedTuple):
    """Ordered by place in the line, then by the order of asking."""

    place_s: float
    serial: int
    key: Key
    needs: Mapping[str, int]
    queue: str


class Granting(Protocol):
    """What executors ask for units."""

    def request(self, key: Key, needs: Mapping[str, int], queue: str, now: ClockTime) -> list[Grant]:
        """Ask; the grants that follow at once."""

    def release(self, key: Key) -> list[Grant]:
        """Give back, or withdraw the request; the grants that follow."""


class Allocator:
    """The units of every resource, who holds them and who waits for them."""

    def __init__(
        self,
        units: Mapping[str, Sequence[str]],
        patience_s: Mapping[str, float] | None = None,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        self._order = {name: {unit: i for i, unit in enumerate(names)} for name, names in units.items()}
        self._free = {name: list(names) for name, names in units.items()}
        self._patience_s = dict(patience_s or {})
        self._places = dict(places or {})
        """Resource → who chooses among its free units; the first ones are taken of others."""
        self._held: dict[Key, Placement] = {}
        self._lines: dict[tuple[str, ...], list[_Request]] = {}
        """Who waits, as one heap for each combination of resources: only the first of a heap can be next."""
        self._waiting: dict[Key, int] = {}
        """Who waits, with the serial of the request; one that is in a heap but not here was withdrawn."""
        self._serial = 0

    def request(self, key: Key, needs: Mapping[str, int], queue: str, now: ClockTime) -> list[Grant]:
        """Ask; the grants that follow at once (none, or this one). ValueError if the needs can never be met."""
        if not self._waiting and (placement := self._placement(needs, queue)) is not None:
            return [self._hand_over(key, placement)]
        for resource, units in needs.items():
            there, place = self._order.get(resource, {}), self._places.get(resource)
            if units > len(there) or (place is not None and place(tuple(there), units, queue) is None):
                raise ValueError(f"needs {units} {resource}; there are {len(there)} in all")
        self._serial += 1
        request = _Request(now + self._patience_s.get(queue, 0.0), self._serial, key, needs, queue)
        heapq.heappush(self._lines.setdefault(tuple(needs), []), request)
        self._waiting[key] = self._serial
        return self._grant()

    def release(self, key: Key) -> list[Grant]:
        """Give back what `key` holds, or withdraw its request; the grants to others that follow."""
        placement = self._held.pop(key, None)
        if placement is None:
            self._waiting.pop(key, None)
        else:
            for resource, units in placement.items():
                free = self._free[resource]
                free.extend(units)
                if len(free) > len(units):
                    free.sort(key=self._order[resource].__getitem__)
        return self._grant() if self._waiting else []

    def adopt(self, key: Key, placement: Placement) -> None:
        """Take over units that were granted before this process started. ValueError if they are not free."""
        left = {resource: list(self._free.get(resource, ())) for resource in placement}
        for resource, units in placement.items():
            for unit in units:
                if unit not in left[resource]:
                    raise ValueError(f"unit {unit!r} of {resource!r} is not there, or held already")
                left[resource].remove(unit)
        self._free |= left
        self._held[key] = placement

    def held(self) -> Mapping[Key, Placement]:
        """Who holds what."""
        return dict(self._held)

    def _grant(self) -> list[Grant]:
        grants: list[Grant] = []
        blocked: set[str] = set()
        lines = [line for line in self._lines.values() if self._has_head(line)]
        while lines:
            line = min(lines, key=operator.itemgetter(0))
            needs = line[0].needs
            placement = self._placement(needs, line[0].queue) if blocked.isdisjoint(needs) else None
            if placement is not None:
                request = heapq.heappop(line)
                del self._waiting[request.key]
                grants.append(self._hand_over(request.key, placement))
                if self._has_head(line):
                    continue
            else:
                blocked.update(needs)  # and so all behind it in its line are held back
            lines.remove(line)
        return grants

    def _has_head(self, line: list[_Request]) -> bool:
        """Is somebody still waiting in this line?"""
        while line and self._waiting.get(line[0].key) != line[0].serial:
            heapq.heappop(line)
        return bool(line)

    def _placement(self, needs: Mapping[str, int], queue: str) -> Placement | None:
        """Free units for all needs; None if there are not enough."""
        placement = {}
        for resource, units in needs.items():
            free = self._free.get(resource, [])
            if len(free) < units:
                return None
            place = self._places.get(resource)
            chosen = tuple(free[:units]) if place is None else place(free, units, queue)
            if chosen is None:
                return None
            placement[resource] = chosen
        return placement

    def _hand_over(self, key: Key, placement: Placement) -> Grant:
        for resource, units in placement.items():
            free = self._free[resource]
            if tuple(free[: len(units)]) == units:
                del free[: len(units)]
            else:
                self._free[resource] = [unit for unit in free if unit not in units]
        self._held[key] = placement
        return Grant(key, placement)
