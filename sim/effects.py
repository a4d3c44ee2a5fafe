"""What doing a stage comes to in a simulated run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from sim.contention import Interference
from twinclock.graph import Json


class Work(Protocol):
    """What a stage run does on devices, for when it is broken off. Seconds are those that it takes alone."""

    def stopped(self, done_s: float) -> Mapping[str, Json]:
        """It has ended after so many seconds, before its time: what the records are to say besides."""

    def put_aside(self, done_s: float, within_s: float) -> Effect | None:
        """Its device will be gone in `within_s` seconds: what it does to go on elsewhere; None: nothing."""


class Load(NamedTuple):
    """What a stage that computes puts on its devices: others there slow it down, and it them."""

    devices: tuple[str, ...]
    interference: Interference
    values: Callable[[float], Mapping[str, Json]] | None = None
    """The seconds that it took in the end → its values; None: they are those of the effect."""


class Effect(NamedTuple):
    """How long a stage takes, and how it ends."""

    seconds: float
    """With no other job beside it."""
    outcome: str
    values: Mapping[str, Json]
    work: Work | None = None
    """None: it makes no difference when it is broken off."""
    load: Load | None = None
    """None: it takes as long whatever goes on beside it."""
