"""Samples in data-time order, addressed by position; and the two time axes, which never mix.

A sample's *position* counts from 0 over the whole stream; a range of samples is half-open,
`[first, stop)`. Timestamps never decrease; many samples may share one. A stream makes timestamps
only when asked, so whoever merely counts samples pays nothing for them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import NewType, Protocol

import numpy as np
from numpy.typing import NDArray

DataTime = NewType("DataTime", float)
"""Seconds in the stream's own time (for calendar time: since 1970-01-01 UTC)."""
ClockTime = NewType("ClockTime", float)
"""Seconds on the executor's clock, from the run's start."""


class Stream(Protocol):
    """What the pipeline may ask of its samples; positions outside [0, num_samples) are the caller's mistake."""

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop); not to be written to."""

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""


class RecordedStream:
    """A stream whose timestamps are known one by one. ValueError if they decrease or aren't finite."""

    def __init__(self, timestamps: NDArray[np.float64]) -> None:
        values = np.asarray(timestamps, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"timestamp at position {int(np.argmin(np.isfinite(values)))} is not a finite number")
        position = first_decrease(values)
        if position is not None:
            raise ValueError(f"timestamp at position {position} is earlier than the one before it")
        self._timestamps = values

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""
        return len(self._timestamps)

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return DataTime(float(self._timestamps[position]))

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop), as a view."""
        return self._timestamps[first:stop]

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        return first + int(np.searchsorted(self._timestamps[first:stop], ts, side="left"))


class UniformStream:
    """A sample every `interval_s` seconds of data time; takes no memory, whatever its length."""

    def __init__(self, num_samples: int, interval_s: float, start_s: float = 0.0) -> None:
        if num_samples < 0 or interval_s < 0:
            raise ValueError(f"expected num_samples >= 0 and interval_s >= 0, got {num_samples} and {interval_s}")
        self._num_samples = num_samples
        self._interval_s = interval_s
        self._start_s = start_s

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""
        return self._num_samples

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return DataTime(self._start_s + position * self._interval_s)

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop)."""
        return self._start_s + np.arange(first, stop, dtype=np.float64) * self._interval_s

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`.

        The answer must agree with `timestamp` to the last bit: division gives it but for rounding, and bisection
        where that was not enough.
        """
        start_s, interval_s = self._start_s, self._interval_s
        where = (ts - start_s) / interval_s if interval_s > 0 else math.inf
        if math.isfinite(where):
            guess = max(first, min(math.ceil(where), stop))
            is_late = guess == stop or start_s + guess * interval_s >= ts
            if is_late and (guess == first or start_s + (guess - 1) * interval_s < ts):
                return guess
        return bisect_left(range(stop), ts, lo=first, key=self.timestamp)


@dataclass(frozen=True, slots=True)
class Known:
    """A stream that goes on, as far as it was known at some moment: the same however long it has become since."""

    stream: Stream
    num_samples: int
    """Samples that were known."""
    next_ts: float
    """No sample after them is older than this; inf: none comes after them."""

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return self.stream.timestamp(position)

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop); not to be written to."""
        return self.stream.timestamps(first, stop)

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        return self.stream.first_at_or_after(ts, first, stop)


def earliest(stream: Stream, position: int) -> float:
    """The data time of the sample at a position; before it has come the least that it can be. inf: none comes there."""
    if position < stream.num_samples:
        return stream.timestamp(position)
    return stream.next_ts if isinstance(stream, Known) else math.inf


def first_decrease(timestamps: NDArray[np.float64]) -> int | None:
    """The first position whose timestamp is less than the one before it; None if they are in order."""
    decreases = timestamps[1:] < timestamps[:-1]
    return int(np.argmax(decreases)) + 1 if decreases.any() else None
