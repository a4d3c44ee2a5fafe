"""Explosive drift: a model stays as good as it was for long, then breaks down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.numbers import Share
from sim.quality.asked import Asked
from twinclock.durations import Delay, Duration
from twinclock.section import Section


class ExplosiveDrift(Section):
    """1 up to the age `onset`; from there in a straight line down to `remains`, which is reached `over` later.

    Vela et al., Temporal quality degradation in AI models, Scientific Reports 12:11654, 2022, describe the shape and
    give no formula; the straight line and the defaults are ours. The age is that of the newest training sample.
    """

    kind: Literal["explosive"] = "explosive"
    onset: Duration = 90 * 86_400.0
    """Age, in data time, up to which nothing happens."""
    over: Delay = 7 * 86_400.0
    """Data time that the collapse takes; 0: all at once."""
    remains: Share = 0.2
    """Share of what was gained that is left in the end."""


@dataclass(frozen=True, slots=True)
class Explosive:
    """The shape."""

    drift: ExplosiveDrift

    def kept(self, asked: Asked) -> float:
        """By the age alone."""
        drift, late_s = self.drift, asked.age_s - self.drift.onset
        if late_s <= 0.0:
            return 1.0
        fallen = min(1.0, late_s / drift.over) if drift.over > 0.0 else 1.0
        return 1.0 - (1.0 - drift.remains) * fallen
