"""A trigger every so many seconds of data time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from twinclock.durations import Duration
from twinclock.errors import DataError
from twinclock.graph import Json
from twinclock.policies.triggers.protocol import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime, earliest


class TimeTriggerConfig(Section):
    """Fires whenever a period of data time is over.

    The first period ends at b = start + every, the next at b + every, and so on. A sample with ts ≥ b shows that a
    period is over; the fire is at the sample before it. Live, the clock shows it too. One fire for each period: one
    without samples gives an empty trigger, which trains nothing.
    """

    source: ClassVar[str] = ""

    kind: Literal["time"] = "time"
    every: Duration
    """Length of a period. [s of data time]"""
    start: float | None = None
    """When the first period begins; None: at the first sample. [s of data time]"""
    final: bool = False
    """One fire more at the end of the stream, for the samples that no period has closed."""


class TimeTrigger:
    """Holds the end of the current period, the boundary.

    The first sample at or past the boundary closes the period, and the fire is at the sample before
    it; live, so does a watermark at or past the boundary. Without either nothing is known to be over.
    """

    depends_on: DependsOn = "data"

    def __init__(self, config: TimeTriggerConfig) -> None:
        self._every_s = config.every
        self._final = config.final
        self._last_fire = -1
        self._reached = 0
        self._period_first = 0
        self._boundary = None if config.start is None else config.start + config.every

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire for the current period if the samples, or the watermark, show that it is over."""
        position = max(self._reached, samples.first)
        if self._boundary is None:
            if position >= samples.stop:
                return Quiet()
            self._boundary = samples.stream.timestamp(position) + self._every_s
        boundary = self._boundary
        position = samples.stream.first_at_or_after(boundary, position, max(position, samples.stop))
        self._reached = position
        passed = samples.watermark is not None and samples.watermark >= boundary
        if position >= samples.stop and not passed:
            return self._at_the_end(samples) if self._final else Quiet()
        self._boundary = boundary + self._every_s
        if self._boundary == boundary:
            raise DataError(f"trigger.every: {self._every_s} s is finer than data time {boundary} s can tell apart")
        reason = f"the period until {boundary:g} s is over"
        decision = Decision(first=self._period_first, stop=position, threshold=boundary, verdict="fired", reason=reason)
        self._period_first = position
        return Fire(position=position - 1, reason=reason, decisions=(decision,))

    def _at_the_end(self, samples: Samples) -> Answer:
        """The fire for the rest of the stream, once the last sample is read and if there is a rest."""
        last = samples.stop - 1
        stream = samples.stream
        goes_on = samples.stop < stream.num_samples or earliest(stream, samples.stop) < math.inf
        if goes_on or self._last_fire >= last or self._period_first > last:
            return Quiet()
        reason = "the stream is over"
        decision = Decision(first=self._period_first, stop=last + 1, verdict="fired", reason=reason)
        self._period_first = last + 1
        return Fire(position=last, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Periods follow one another, whatever became of this fire; only the final one asks whether a rest is left."""
        self._last_fire = position

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """The current period's end, once it is known."""
        return None if self._boundary is None else DataTime(self._boundary)

    def state_dict(self) -> dict[str, Json]:
        """`reached`: the first position not yet read; `first`, `boundary`: where the current period begins and ends."""
        return {
            "reached": self._reached,
            "first": self._period_first,
            "boundary": self._boundary,
            "last_fire": self._last_fire,
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._reached = state["reached"]
        self._period_first = state["first"]
        self._boundary = state["boundary"]
        self._last_fire = state["last_fire"]
