"""Live data: how data time goes with the clock, and when the pipeline should look for samples again.

Data time runs with the clock, `speed_up` seconds of data time a second, starting at the first sample.
Both executors read the clock and ask here, so a paced replay and a simulated one arrive alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from twinclock.lateness import handover
from twinclock.stream import ClockTime, DataTime, Stream


@dataclass(frozen=True, slots=True)
class Pace:
    """How data time and clock time go together."""

    origin: DataTime
    """Data time of the first sample, which arrives at clock time 0."""
    speed_up: float
    """Seconds of data time a second of clock time."""

    def data_time(self, clock: ClockTime) -> DataTime:
        """The data time that it is now; a rounding error early counts as on time."""
        elapsed_s = clock * self.speed_up
        # the error is that of the terms, also where they cancel in the sum
        return DataTime(self.origin + elapsed_s + (abs(self.origin) + abs(elapsed_s)) * 1e-12 + 1e-9)

    def clock_time(self, data_time: DataTime) -> ClockTime:
        """The clock time at which a data time is reached."""
        return ClockTime((data_time - self.origin) / self.speed_up)


class Wake(NamedTuple):
    """What WAIT_FOR_NEW_DATA should end with, and what time it is then, as data time."""

    outcome: Literal["ready", "deadline", "end"]
    at: DataTime


def wake(
    stream: Stream, position: int, batch_size: int, deadline: DataTime | None, max_wait_s: float = math.inf
) -> Wake:
    """When to look again from `position`: a full batch is there, or the last sample, or a time has come.

    The time is that at which the next sample has waited `max_wait_s` seconds of data time, or a deadline.
    A deadline that passes while samples wait hands those over first (`ready`); one that passes while
    none do is the outcome `deadline`. With no sample left to come: `end`, at the stream's last moment.
    """
    samples = handover(stream)
    if position >= stream.num_samples:
        return Wake("end", samples.moment(stream.num_samples - 1))
    next_at = samples.moment(position)
    full_at = samples.moment(min(position + batch_size, stream.num_samples) - 1)
    ready_at = DataTime(min(full_at, next_at + max_wait_s))
    if deadline is None or ready_at < (over_at := samples.reached(deadline)):
        return Wake("ready", ready_at)
    return Wake("ready" if next_at <= over_at else "deadline", over_at)
