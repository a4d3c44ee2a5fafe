"""Samples that come late: when each is handed over, and which are turned away.

Behind ingestion, positions count samples in data-time order. Samples that come in another order are held back
and sorted. The *watermark* is the newest data time that has come, less the lateness that is allowed. A sample
is handed over once the watermark has reached its data time: whatever comes later is no older. A sample that
comes when the watermark is beyond it already is *quarantined*: it is counted, and gets no position.

Who is turned away depends on the order of coming alone, so it is the same in replay and live.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinclock.stream import DataTime, RecordedStream, Stream


class Handover(Protocol):
    """When samples are handed over, and how far data time has come then. Whatever is asked for only rises."""

    @property
    def moment(self) -> Callable[[int], DataTime]:
        """Position → what time it is, as data time, when that sample is handed over."""

    def arrived(self, position: int, now: DataTime) -> int:
        """The first position from `position` on that has not been handed over when it is `now`."""

    def watermark(self, now: DataTime) -> DataTime:
        """The data time than which no older sample will come any more, when it is `now`."""

    def reached(self, ts: DataTime) -> DataTime:
        """The first moment at which the watermark is at `ts` or beyond."""

    def num_quarantined(self, first: int, stop: int) -> int:
        """Samples turned away since the sample before `first` was handed over, until that before `stop` was."""


@dataclass(frozen=True, slots=True)
class OnTime:
    """Every sample of a stream comes at its own data time."""

    stream: Stream

    @property
    def moment(self) -> Callable[[int], DataTime]:
        """Its own data time."""
        return self.stream.timestamp

    def arrived(self, position: int, now: DataTime) -> int:
        """The first whose own data time is after `now`; the stream knows a shorter way than to ask for each."""
        return self.stream.first_at_or_after(math.nextafter(now, math.inf), position, self.stream.num_samples)

    def watermark(self, now: DataTime) -> DataTime:
        """Now."""
        return now

    def reached(self, ts: DataTime) -> DataTime:
        """That time."""
        return ts

    def num_quarantined(self, first: int, stop: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Reordered:
    """Samples that came out of order. Positions are in data-time order, *places* in the order of coming."""

    timestamps: NDArray[np.float64]
    """Data time of each position."""
    rows: NDArray[np.int64]
    """Number of each position's sample in the order in which samples were given."""
    released: NDArray[np.int64]
    """The place of the sample with whose coming each position was handed over."""
    come: NDArray[np.float64]
    """When the sample at each place came; quarantined ones too."""
    marks: NDArray[np.float64]
    """The watermark as it had come."""
    turned_away: NDArray[np.int64]
    """How many up to it were quarantined."""

    def moment(self, position: int) -> DataTime:
        """When the sample came that took the watermark to this one, or this one itself if that was later."""
        return DataTime(float(self.come[self.released[position]]))

    def arrived(self, position: int, now: DataTime) -> int:
        """By bisection: moments never go back."""
        return bisect_right(range(len(self.timestamps)), now, lo=position, key=self.moment)

    def watermark(self, now: DataTime) -> DataTime:
        """That of the last sample that has come; when all have come, now."""
        num_come = int(np.searchsorted(self.come, now, side="right"))
        if num_come == len(self.come):
            return DataTime(max(now, float(self.timestamps[-1])))
        return DataTime(float(self.marks[num_come - 1]) if num_come else -math.inf)

    def reached(self, ts: DataTime) -> DataTime:
        """When the sample came that took the watermark there, or else when all had come."""
        place = int(np.searchsorted(self.marks, ts, side="left"))
        if place < len(self.marks):
            return DataTime(float(self.come[place]))
        last = float(self.come[-1])
        return DataTime(last if ts <= self.timestamps[-1] else max(last, ts))

    def num_quarantined(self, first: int, stop: int) -> int:
        """Samples that came too late between two handovers; those after the last count for it."""
        return 0 if first == stop else self._turned_away_before(stop) - self._turned_away_before(first)

    def _turned_away_before(self, position: int) -> int:
        if position == 0:
            return 0
        is_last = position == len(self.timestamps)
        return int(self.turned_away[-1 if is_last else self.released[position - 1]])


class ReorderedStream:
    """The stream of samples that came out of order: what was not turned away, in data-time order."""

    def __init__(self, reordered: Reordered) -> None:
        self.handover = reordered
        self._sorted = RecordedStream(reordered.timestamps)

    @property
    def num_samples(self) -> int:
        """Samples that were not turned away."""
        return self._sorted.num_samples

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return self._sorted.timestamp(position)

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop), as a view."""
        return self._sorted.timestamps(first, stop)

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        return self._sorted.first_at_or_after(ts, first, stop)


def handover(stream: Stream) -> Handover:
    """When a stream's samples are handed over."""
    return stream.handover if isinstance(stream, ReorderedStream) else OnTime(stream)


def reorder(
    timestamps: NDArray[np.float64], allowed_lateness_s: float, come: NDArray[np.float64] | None = None
) -> Reordered:
    """Put samples in data-time order and turn away what comes too late; ties stay in the order of coming.

    `timestamps`: data times, at least one, all finite. `come`: when each came, on the same axis; None: in the order
    given, each no earlier than a newer one before it.
    """
    by_coming = np.arange(len(timestamps)) if come is None else np.argsort(come, kind="stable")
    ts = timestamps[by_coming]
    newest = np.maximum.accumulate(ts)
    marks = newest - allowed_lateness_s
    in_time = ts >= marks
    kept = np.flatnonzero(in_time)
    places = kept[np.argsort(ts[kept], kind="stable")]
    passed = np.minimum(np.searchsorted(marks, ts[places], side="left"), len(ts) - 1)
    return Reordered(
        timestamps=ts[places],
        rows=by_coming[places],
        released=np.maximum(passed, places),
        come=newest if come is None else come[by_coming],
        marks=marks,
        turned_away=np.cumsum(~in_time),
    )
