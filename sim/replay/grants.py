"""The allocator of a run that was resumed: each process began with one of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sim.replay.names import Names
from twinclock.allocator import Answer, Key
from twinclock.launch import RunPlan, allocator_of
from twinclock.machine import Machine
from twinclock.messages import Acquire, Command
from twinclock.stream import ClockTime


class Grants:
    """Answers as the allocator does that the run has now."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._allocator = allocator_of(plan)

    def begin_anew(self, machine: Machine, names: Names) -> list[Command]:
        """A new process takes over what is held; the commands that are open, of which it has to ask for units again."""
        held, commands = machine.outstanding()
        names.note([*(request for request, _ in held), *commands])
        self._allocator = allocator_of(self._plan)
        for request, placement in held:
            self._allocator.adopt(request, placement)
        return commands

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
