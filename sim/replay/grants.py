"""The allocator of a run that was resumed: each process began with one of its own."""

from __future__ import annotations

from collections.abc import Sequence

from twinclock.allocator import Allocator, Answer, Key
from twinclock.launch import PIPELINE, RunPlan
from twinclock.messages import Acquire, Placement
from twinclock.scheduling import DEVICE, scheduling
from twinclock.stream import ClockTime


class Grants:
    """Answers as the allocator does that the run has now."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._allocator = _allocator(plan)

    def begin_anew(self, held: Sequence[tuple[Acquire, Placement]]) -> None:
        """A new process takes over what is held; what was waited for has to be asked for again."""
        self._allocator = _allocator(self._plan)
        for request, placement in held:
            self._allocator.adopt(request, placement)

    def request(self, ask: Acquire, now: ClockTime) -> list[Answer]:
        """Ask; the answers that follow at once."""
        return self._allocator.request(ask, now)

    def release(self, key: Key) -> list[Answer]:
        """Give back, or withdraw the request; the answers that follow."""
        return self._allocator.release(key)

    def take_out(self, units: Sequence[str]) -> None:
        """Devices are granted to nobody, until they are put back."""
        self._allocator.take_out(units)

    def put_back(self, units: Sequence[str]) -> list[Answer]:
        """Devices that were taken out are there again; the answers that follow."""
        return self._allocator.put_back(units)


def _allocator(plan: RunPlan) -> Allocator:
    return Allocator(plan.units, scheduling(plan.config.cluster, plan.units[DEVICE], {PIPELINE: plan.config}))
