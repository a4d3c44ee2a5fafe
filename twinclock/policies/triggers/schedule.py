"""When interval triggers decide: every n samples, or every period of data time, and once labels are known.

Samples: the k-th decision is about positions [k·n, (k+1)·n). Periods: about the samples with timestamps in [t0 +
k·every, t0 + (k+1)·every), t0 being that of the first sample; a period without samples is passed over. Intervals do
not begin anew at a trigger, and a tail that is shorter is never decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import BeforeValidator

from twinclock.durations import parse_duration
from twinclock.graph import Json
from twinclock.policies.triggers.protocol import Samples
from twinclock.stream import DataTime


def _interval_length(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        try:
            if parse_duration(value) > 0:
                return value
        except ValueError:
            pass
    raise ValueError("expected a number of samples > 0, or a duration <int>s|m|h|d|w|y, such as 30d")


IntervalLength: TypeAlias = Annotated[int | str, BeforeValidator(_interval_length)]
"""A number of samples, or a duration of data time such as `30d`."""


class Interval(NamedTuple):
    """Samples that a decision is about."""

    number: int
    """Counts the decisions from 0."""
    first: int
    stop: int
    position: int
    """Where the decision fires; after `stop - 1` if labels had to be waited for."""


class Schedule:
    """Knows which interval is due next. `reached` is the first position not yet read."""

    def __init__(self, length: int | str, *, needs_labels: bool) -> None:
        self._num_samples = length if isinstance(length, int) else None
        self._every_s = None if isinstance(length, int) else parse_duration(length)
        self._needs_labels = needs_labels
        self._number = 0
        self._first = 0
        self._reached = 0

    def next_due(self, samples: Samples) -> Interval | None:
        """The next interval that the samples show to be over, taken off the schedule; None if there is none.

        None means that everything in view is read.
        """
        self._reached = max(self._reached, samples.first)
        delay_s = samples.label_delay_s if self._needs_labels else 0.0
        if self._num_samples is not None:
            found = self._next_by_number(samples, self._num_samples, delay_s)
        else:
            found = self._next_by_time(samples, delay_s)
        if found is None:
            self._reached = max(self._reached, samples.stop)
            return None
        stop, position = found
        due = Interval(self._number, self._first, stop, position)
        self._number += 1
        self._first = stop
        self._reached = position + 1
        return due

    def next_deadline(self, samples: Samples | None) -> DataTime | None:
        """Data time at which the next interval is over even if no sample comes; None if that takes samples.

        `samples`: the latest view.
        """
        if samples is None or self._first >= self._reached:
            return None
        delay_s = samples.label_delay_s if self._needs_labels else 0.0
        if self._num_samples is not None:
            stop = self._first + self._num_samples
            is_waiting = delay_s > 0 and stop <= self._reached
            return DataTime(samples.stream.timestamp(stop - 1) + delay_s) if is_waiting else None
        return DataTime(self._period_end(samples, self._first) + delay_s)

    def state_dict(self) -> dict[str, Json]:
        """`number`: decisions made; `first`: where the next interval begins; `reached`: the first position not read."""
        return {"number": self._number, "first": self._first, "reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._number, self._first, self._reached = state["number"], state["first"], state["reached"]

    def _next_by_number(self, samples: Samples, num_samples: int, delay_s: float) -> tuple[int, int] | None:
        stop = self._first + num_samples
        if stop > samples.stop:
            return None
        if delay_s == 0.0:
            return stop, stop - 1
        position = self._shown_at(samples, samples.stream.timestamp(stop - 1) + delay_s, stop)
        return None if position is None else (stop, position)

    def _next_by_time(self, samples: Samples, delay_s: float) -> tuple[int, int] | None:
        if self._first >= samples.stop:
            return None
        end = self._period_end(samples, self._first)
        stop = samples.stream.first_at_or_after(end, self._first, samples.stop)
        position = self._shown_at(samples, end + delay_s, stop)
        return None if position is None else (stop, position)

    def _shown_at(self, samples: Samples, ts: float, from_: int) -> int | None:
        """The position before the sample, or the moment, that shows that data time has come to `ts`."""
        begin = max(from_, self._reached)
        shown_by = samples.stream.first_at_or_after(ts, begin, max(begin, samples.stop))
        if shown_by < samples.stop or (samples.watermark is not None and samples.watermark >= ts):
            return shown_by - 1
        return None

    def _period_end(self, samples: Samples, position: int) -> float:
        """The end of the period that a sample lies in."""
        assert self._every_s is not None  # only asked where intervals are periods
        origin, ts = samples.stream.timestamp(0), samples.stream.timestamp(position)
        index = math.floor((ts - origin) / self._every_s)
        # division says about where: the ends are those of the sums
        while origin + index * self._every_s > ts:
            index -= 1
        while origin + (index + 1) * self._every_s <= ts:
            index += 1
        return origin + (index + 1) * self._every_s
