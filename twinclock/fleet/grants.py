"""One allocator for all pipelines of a fleet: devices are everyone's, slots and locks each pipeline's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinclock.allocator import Allocator, Answer, Key, Sharing
from twinclock.messages import Acquire, Granted, Placement
from twinclock.scheduling import DEVICE
from twinclock.stream import ClockTime


class FleetAllocator:
    """An allocator in which every resource but devices exists once for each pipeline."""

    def __init__(self, units: Mapping[str, Mapping[str, Sequence[str]]], sharing: Mapping[str, Sharing]) -> None:
        """`units`: pipeline → resource → units; the devices are the same for all. `sharing`: of the devices."""
        everyones = {DEVICE: next(iter(units.values()))[DEVICE]}
        own = {_own(pipeline, name): each for pipeline, its in units.items() for name, each in its.items()}
        self._allocator = Allocator({**own, **everyones}, sharing)

    def request(self, ask: Acquire, now: ClockTime) -> list[Answer]:
        """As `Allocator.request`."""
        mine = {_own(ask.pipeline, name): units for name, units in ask.needs.items()}
        return [_told(answer) for answer in self._allocator.request(ask._replace(needs=mine), now)]

    def release(self, key: Key) -> list[Answer]:
        """As `Allocator.release`."""
        return [_told(answer) for answer in self._allocator.release(key)]

    def take_out(self, units: Sequence[str]) -> None:
        """As `Allocator.take_out`."""
        self._allocator.take_out(units)

    def put_back(self, units: Sequence[str]) -> list[Answer]:
        """As `Allocator.put_back`."""
        return [_told(answer) for answer in self._allocator.put_back(units)]


def _own(pipeline: str, resource: str) -> str:
    return resource if resource == DEVICE else f"{pipeline}/{resource}"


def _told(answer: Answer) -> Answer:
    pipeline, event = answer
    if not isinstance(event, Granted):
        return answer
    placement: Placement = {name.rpartition("/")[2]: units for name, units in event.placement.items()}
    return pipeline, Granted(event.id, placement)
