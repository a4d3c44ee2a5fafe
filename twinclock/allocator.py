"""Who is granted which units of a resource, and when. The same for every executor, so no executor has its own queue.

The rules:

1. A request is granted whole or not at all: the first free units, or those that a placement policy chooses.
2. Requests stand in one line. A request's place is given as it asks, by the queueing discipline of the resource,
   and never changes; of those with the same place the one that asked first comes first.
3. A request that does not fit holds back every later one that shares a resource with it, so a large
   request is not starved by small ones.
4. If a request that does not yield has to wait, and what is held by stages that yield would be enough, then that is
   recalled: from those who were granted theirs last, and from no more than it takes.

What follows from a request or a release is a list of answers, events for the pipelines concerned; executors pass
them on as they are.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from twinclock._stock import Stock
from twinclock.messages import Acquire, Granted, Placement, Recalled
from twinclock.policies.placement import Place
from twinclock.policies.queueing import Rank, first_come
from twinclock.stream import ClockTime

_DEVICE = "device"
"""The resource whose units come and go."""

Key: TypeAlias = tuple[str, int]
"""(pipeline, id) of the request."""
Answer: TypeAlias = tuple[str, Granted | Recalled]
"""A pipeline, and what its machine is to be told."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the units of a resource are shared out; by default to one at a time, in the order of asking."""

    rank: Rank = first_come
    """A request's place in the line; lower ones come first."""
    place: Place | None = None
    """Chooses among the free units; None: the first ones are taken."""
    jobs_per_unit: int = 1
    """So many requests may hold a unit at once."""


_PLAIN = Sharing()


class _Request(NamedTuple):
    """Ordered by place in the line, then by the order of asking."""

    place: float
    serial: int
    ask: Acquire


class Granting(Protocol):
    """What executors ask for units."""

    def request(self, ask: Acquire, now: ClockTime) -> Sequence[Answer]:
        """Ask; the answers that follow at once."""

    def release(self, key: Key) -> Sequence[Answer]:
        """Give back, or withdraw the request; the answers that follow."""

    def take_out(self, units: Sequence[str]) -> None:
        """Devices are granted to nobody, until they are put back; who holds one goes on to hold it."""

    def put_back(self, units: Sequence[str]) -> Sequence[Answer]:
        """Devices that were taken out are there again; the answers that follow."""


class Allocator:
    """The units of every resource, who holds them and who waits for them."""

    def __init__(self, units: Mapping[str, Sequence[str]], sharing: Mapping[str, Sharing] | None = None) -> None:
        """`units`: resource → names, in the order in which they are granted. `sharing`: of some resources."""
        self._sharing = dict.fromkeys(units, _PLAIN) | dict(sharing or {})
        self._stocks = {name: Stock(names, self._sharing[name].jobs_per_unit) for name, names in units.items()}
        self._held: dict[Key, tuple[Acquire, Placement]] = {}
        """In the order of being granted."""
        self._recalled: set[Key] = set()
        """Holders whose units were recalled, and are not back yet."""
        self._num_yielding = 0
        """Holders that yield."""
        self._lines: dict[tuple[str, ...], list[_Request]] = {}
        """Who waits, as one heap for each combination of resources: only the first of a heap can be next."""
        self._waiting: dict[Key, _Request] = {}
        """Who waits; a request that is in a heap but not here was withdrawn."""
        self._serial = 0

    def request(self, ask: Acquire, now: ClockTime) -> list[Answer]:
        """Ask; the answers that follow at once. ValueError if the needs can never be met."""
        if not self._waiting and (placement := self._placement(ask, self._stocks)) is not None:
            return [self._hand_over(ask, placement)]
        for resource, units in ask.needs.items():
            there = self._stocks[resource].units if resource in self._stocks else ()
            place = self._sharing.get(resource, _PLAIN).place
            if units > len(there) or (place is not None and place(there, units, ask) is None):
                raise ValueError(f"needs {units} {resource}; there are {len(there)} in all")
        self._serial += 1
        request = _Request(self._place(ask, now), self._serial, ask)
        heapq.heappush(self._lines.setdefault(tuple(ask.needs), []), request)
        self._waiting[ask.pipeline, ask.id] = request
        return [*self._grant(), *self._recall()]

    def release(self, key: Key) -> list[Answer]:
        """Give back what `key` holds, or withdraw its request; the answers to others that follow."""
        ask, placement = self._held.pop(key, (None, {}))
        if ask is None:
            self._waiting.pop(key, None)
        else:
            self._num_yielding -= ask.yields
            self._recalled.discard(key)
            for resource, units in placement.items():
                self._stocks[resource].give(units)
        return [*self._grant(), *self._recall()] if self._waiting else []

    def adopt(self, ask: Acquire, placement: Placement) -> None:
        """Take over units that were granted before this process started. ValueError if they are not free."""
        for resource, units in placement.items():
            stock = self._stocks.get(resource)
            if stock is None or not stock.can_take(units):
                raise ValueError(f"{', '.join(units)} of {resource!r} are not all there, or not all free")
        self._hand_over(ask, placement)

    def take_out(self, units: Sequence[str]) -> None:
        """Devices are granted to nobody until they are put back. Who holds one gives back only the others.

        ValueError if one is out already.
        """
        self._stocks[_DEVICE].take_out(units)

    def put_back(self, units: Sequence[str]) -> list[Answer]:
        """Devices that were taken out are there again; the answers that follow."""
        self._stocks[_DEVICE].put_back(units)
        return [*self._grant(), *self._recall()] if self._waiting else []

    def held(self) -> Mapping[Key, Placement]:
        """Who holds what."""
        return {key: placement for key, (_, placement) in self._held.items()}

    def _place(self, ask: Acquire, now: ClockTime) -> float:
        """By the discipline of the first resource that has one of its own."""
        ranks = [self._sharing[resource].rank for resource in ask.needs]
        return next((rank for rank in ranks if rank is not first_come), first_come)(ask, now)

    def _grant(self) -> list[Answer]:
        grants: list[Answer] = []
        blocked: set[str] = set()
        lines = [line for line in self._lines.values() if self._has_head(line)]
        while lines:
            line = min(lines, key=operator.itemgetter(0))
            ask = line[0].ask
            placement = self._placement(ask, self._stocks) if blocked.isdisjoint(ask.needs) else None
            if placement is not None:
                heapq.heappop(line)
                del self._waiting[ask.pipeline, ask.id]
                grants.append(self._hand_over(ask, placement))
                if self._has_head(line):
                    continue
            else:
                blocked.update(ask.needs)  # and so all behind it in its line are held back
            lines.remove(line)
        return grants

    def _recall(self) -> list[Answer]:
        """Who is to give back what it holds, for the requests in the line that do not yield."""
        if self._num_yielding == len(self._recalled):
            return []
        answers: list[Answer] = []
        stocks: Mapping[str, Stock] = self._stocks
        for key in self._recalled:
            stocks = _given_back(stocks, self._held[key][1])
        blocked: set[str] = set()
        for _, _, ask in sorted(request for request in self._waiting.values() if not request.ask.yields):
            if not blocked.isdisjoint(ask.needs):
                blocked.update(ask.needs)
                continue
            victims, tried = [], stocks
            placement = self._placement(ask, tried)
            for key, (holder, units) in reversed(self._held.items()):
                if placement is not None:
                    break
                if holder.yields and key not in self._recalled and not ask.needs.keys().isdisjoint(units):
                    tried = _given_back(tried, units)
                    victims.append(key)
                    placement = self._placement(ask, tried)
            if placement is None:
                blocked.update(ask.needs)
                continue
            stocks = {**tried, **{resource: tried[resource].copy() for resource in placement}}
            for resource, taken in placement.items():
                stocks[resource].take(taken)
            self._recalled.update(victims)
            answers += [(pipeline, Recalled(id_)) for pipeline, id_ in victims]
        return answers

    def _has_head(self, line: list[_Request]) -> bool:
        """Is somebody still waiting in this line?"""
        while line and self._waiting.get((line[0].ask.pipeline, line[0].ask.id)) is not line[0]:
            heapq.heappop(line)
        return bool(line)

    def _placement(self, ask: Acquire, stocks: Mapping[str, Stock]) -> Placement | None:
        """Free units for all needs; None if there are not enough."""
        placement = {}
        for resource, units in ask.needs.items():
            free = stocks[resource].free if resource in stocks else []
            if len(free) < units:
                return None
            place = self._sharing[resource].place
            chosen = tuple(free[:units]) if place is None else place(free, units, ask)
            if chosen is None:
                return None
            placement[resource] = chosen
        return placement

    def _hand_over(self, ask: Acquire, placement: Placement) -> Answer:
        for resource, units in placement.items():
            self._stocks[resource].take(units)
        self._num_yielding += ask.yields
        self._held[ask.pipeline, ask.id] = (ask, placement)
        return ask.pipeline, Granted(ask.id, placement)


def _given_back(stocks: Mapping[str, Stock], placement: Placement) -> Mapping[str, Stock]:
    """How the stocks would be if these units were given back."""
    after = {**stocks, **{resource: stocks[resource].copy() for resource in placement}}
    for resource, units in placement.items():
        after[resource].give(units)
    return after
