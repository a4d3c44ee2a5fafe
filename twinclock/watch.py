"""Watching a run while it goes on: what a progress bar or a log line is told. Watching can't change the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinclock.messages import Command, Event
from twinclock.stream import ClockTime


class Watcher(Protocol):
    """Told what happens, as it happens."""

    def begin(self, num_samples: int | None) -> None:
        """A run starts, or goes on; its stream has so many samples. None: nobody knows how many will come."""

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """An event of the run, and what the machine answered."""

    def training(self, device: str, job: str, done: float) -> None:
        """A training under way: the share of its steps that are done, in [0, 1]."""


class FleetWatcher(Watcher, Protocol):
    """Watches several pipelines that run at once, and shows them as one."""

    def of(self, pipeline: str) -> Watcher:
        """Whoever is to be told of one of them; its `begin` adds to the samples of all."""


class Unwatched:
    """Nobody looks."""

    def of(self, pipeline: str) -> Watcher:
        """Nobody looks there either."""
        return self

    def begin(self, num_samples: int | None) -> None:
        """Nothing."""

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Nothing."""

    def training(self, device: str, job: str, done: float) -> None:
        """Nothing."""


UNWATCHED: FleetWatcher = Unwatched()
