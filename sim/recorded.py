"""Timestamps that stand in a file, as they are or scaled in time and number."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.arrivals import RecordedConfig
from twinclock.dataset import is_time, timestamps
from twinclock.errors import DataError
from twinclock.section import nearest
from twinclock.stream import DataTime, RecordedStream, Stream


class InterpolatedStream:
    """`rate` samples for each of some recorded ones: sample i comes at the recorded time number i / rate.

    Between two recorded times it is interpolated in a straight line. The first recorded time is always taken.
    """

    def __init__(self, recorded: NDArray[np.float64], rate: float) -> None:
        """`recorded`: at least one time, and none is earlier than that before."""
        self._recorded = recorded
        self._rate = rate

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""
        return int((len(self._recorded) - 1) * self._rate) + 1

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return DataTime(float(self.timestamps(position, position + 1)[0]))

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop)."""
        place = np.arange(first, stop) / self._rate
        last = len(self._recorded) - 1
        before = np.minimum(place.astype(np.int64), last)
        low, high = self._recorded[before], self._recorded[np.minimum(before + 1, last)]
        # a rounding error must not let a sample overtake the next recorded time
        times: NDArray[np.float64] = np.minimum(low + (place - before) * (high - low), high)
        return times

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        return first + bisect_left(range(first, stop), ts, key=self.timestamp)


def recorded_stream(config: RecordedConfig) -> Stream:
    """The stream that a file holds. DataError names the file, and the row where there is one."""
    times = _read(config)
    first, last = float(times[0]), float(times[-1])
    # the difference of two finite numbers need not be one
    if not math.isfinite(last - first) or not math.isfinite(first + (last - first) * config.stretch):
        raise DataError(f"{config.file}: time column {config.time!r} spans more seconds than there are numbers for")
    if config.stretch != 1.0:
        times = first + (times - first) * config.stretch
    return RecordedStream(times) if config.rate == 1.0 else InterpolatedStream(times, config.rate)


def _read(config: RecordedConfig) -> NDArray[np.float64]:
    file, name = config.file, config.time
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "no such file"
        raise DataError(f"{file}: {found}, expected a Parquet or CSV file")
    is_csv = file.suffix == ".csv"
    try:
        scan = pl.scan_csv(file, glob=False, try_parse_dates=True) if is_csv else pl.scan_parquet(file, glob=False)
        schema = scan.collect_schema()
        if name not in schema:
            raise DataError(f"{file}: no column {name!r} (asked for by data.time); {nearest(name, schema.names())}")
        rows = scan.select(name)
        time = (rows if config.limit is None else rows.head(config.limit)).collect()[name]
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{file}: can't be read as {'CSV' if is_csv else 'Parquet'} ({reason})") from None
    if not is_time(time.dtype):
        expected = "a number of seconds, a date or a datetime in each row"
        raise DataError(f"{file}: time column {name!r} is {time.dtype}, expected {expected}")
    if time.is_empty():
        raise DataError(f"{file}: the table has no rows, expected at least one")
    return timestamps(file, time)
