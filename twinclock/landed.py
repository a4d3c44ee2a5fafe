"""The samples of a source that grows, as they lie in the folder of their run.

They come in *landings*, each a folder of its own that appears in one step and never changes:

| path | holds |
|---|---|
| samples/00000/rows.parquet | the samples that were handed over: time in seconds, features, label; sorted by time |
| samples/00000/held.parquet | those held back: older ones may still come |
| samples/00000/quarantine.parquet | what was turned away, and why |
| samples/00000/keys.parquet | where records have a key: those that a duplicate could still come of |
| samples/00000/manifest.json | what was read, how far, and how far data time has come |

A sample's position is its row number over all landings. What is here was all written by `real.sources.landing`.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.dataset import Table
from twinclock.errors import RunError
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.stream import DataTime

ROWS = "rows.parquet"
HELD = "held.parquet"
KEYS = "keys.parquet"
MANIFEST = "manifest.json"
_FORMAT = 1
_MANY = 64
"""Pieces of a table from which on it is put together anew: many small ones are slow to take rows from."""


@dataclass(frozen=True, slots=True)
class Landing:
    """One landing, as its manifest tells of it."""

    number: int
    first: int
    stop: int
    """Its samples are at the positions [first, stop)."""
    last_ts: float | None
    """Data time of its last sample; None if it has none."""
    newest_ts: float | None
    """The newest data time that any record had so far; None: there was none."""
    watermark: float | None
    """No later sample is older than this; None: nothing is known yet."""
    landed_s: float
    """When it was made, on the run's clock."""
    quarantined: int
    """Records turned away, in this landing."""
    is_last: bool
    """Has the source come to its end with it?"""
    position: Json
    """How far the source was read then, as the source says it."""
    origins: tuple[Mapping[str, Json], ...]
    """What was read, as the source tells of it: of a folder, its files."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the landings, replaced as a whole: one thread reads while another takes in the next."""

    landings: tuple[Landing, ...] = ()
    filled: tuple[Landing, ...] = ()
    """Those that have samples."""
    stops: tuple[int, ...] = ()
    """Of each of these."""
    last_ts: tuple[float, ...] = ()


class LandedSamples:
    """The stream of these samples, and the table; both as far as `refresh` found them."""

    def __init__(self, folder: Path, config: FolderConfig) -> None:
        """`folder`: the one of the landings. RunError as for `refresh`."""
        self.folder = folder
        self._config = config
        self._known = _Known()
        self._times: dict[int, NDArray[np.float64]] = {}
        """Number of a landing → its timestamps, read when they are first asked for."""
        self._table: Table | None = None
        self._num_in_table = 0
        """Landings whose rows are in it."""
        self.refresh()

    def refresh(self) -> None:
        """Take in the landings that have been made since. RunError if one can't be read."""
        known, new = self._known, list[Landing]()
        while (folder := self.landing(number := len(known.landings) + len(new))).exists():
            new.append(_read(folder, number))
        if new:
            filled = [each for each in new if each.stop > each.first]
            self._known = _Known(
                (*known.landings, *new),
                (*known.filled, *filled),
                (*known.stops, *(each.stop for each in filled)),
                (*known.last_ts, *(each.last_ts for each in filled if each.last_ts is not None)),
            )

    def landing(self, number: int) -> Path:
        """The folder of a landing, whether or not it is there."""
        return self.folder / f"{number:05d}"

    @property
    def landings(self) -> tuple[Landing, ...]:
        """All of them, in order."""
        return self._known.landings

    @property
    def num_samples(self) -> int:
        """Samples that were handed over by now."""
        stops = self._known.stops
        return stops[-1] if stops else 0

    @property
    def has_ended(self) -> bool:
        """Will no more come?"""
        landings = self._known.landings
        return bool(landings) and landings[-1].is_last

    @property
    def watermark(self) -> float | None:
        """The data time than which no later sample is older; None: nothing is known yet."""
        landings = self._known.landings
        return landings[-1].watermark if landings else None

    def landed_s(self, position: int) -> float:
        """When a sample was handed over, on the run's clock."""
        return self._landing_of(position).landed_s

    def num_quarantined(self, first: int, stop: int) -> int:
        """Records turned away in the landings [first, stop)."""
        return sum(each.quarantined for each in self._known.landings[first:stop])

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample. RunError if its landing can't be read."""
        landing = self._landing_of(position)
        return DataTime(float(self._times_of(landing)[position - landing.first]))

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """Data times of [first, stop); not to be written to."""
        parts = [np.empty(0)]
        known = self._known
        for landing in known.filled[bisect_right(known.stops, first) :]:
            if landing.first >= stop:
                break
            parts.append(self._times_of(landing)[max(0, first - landing.first) : stop - landing.first])
        return np.concatenate(parts)

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        known = self._known
        index = max(bisect_right(known.stops, first), bisect_left(known.last_ts, ts))
        if index == len(known.filled) or known.filled[index].first >= stop:
            return stop
        landing = known.filled[index]
        begin, end = max(0, first - landing.first), min(stop, landing.stop) - landing.first
        found = begin + int(np.searchsorted(self._times_of(landing)[begin:end], ts, side="left"))
        return landing.first + found

    def table(self) -> Table:
        """The samples themselves, as many as there are by now; rows that it has already are not read again."""
        landings, table, columns = self._known.landings, self._table, self._config.columns
        if table is not None and self._num_in_table == len(landings):
            return table
        new = [read_parquet(self.landing(each.number) / ROWS) for each in landings[self._num_in_table :]]
        frames = [each.select(*columns.features.names, columns.label) for each in new]
        times = [each[columns.time].to_numpy() for each in new]
        if table is not None:
            frames, times = [table.frame, *frames], [table.timestamps, *times]
        frame = pl.concat(frames) if frames else pl.DataFrame()
        self._table = Table(
            config=self._config,
            columns=columns,
            frame=frame.rechunk() if frame.n_chunks() > _MANY else frame,
            timestamps=np.concatenate([np.empty(0), *times]),
            is_calendar=False,
        )
        self._num_in_table = len(landings)
        return self._table

    def _landing_of(self, position: int) -> Landing:
        known = self._known
        index = bisect_right(known.stops, position)
        if position < 0 or index == len(known.filled):
            raise RunError(f"{self.folder}: holds {self.num_samples} samples, but the run knows of one at {position}")
        return known.filled[index]

    def _times_of(self, landing: Landing) -> NDArray[np.float64]:
        if landing.number not in self._times:
            times = read_parquet(self.landing(landing.number) / ROWS, [self._config.time])[self._config.time]
            self._times[landing.number] = times.to_numpy()
        return self._times[landing.number]


def read_parquet(file: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A file of a landing. RunError if it can't be read."""
    try:
        return pl.read_parquet(file, columns=columns, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RunError(f"{file}: can't be read ({' '.join(str(error).split())[:120]}), expected a landing") from None


def manifest(landing: Landing) -> Json:
    """What stands in the manifest of a landing."""
    return {
        "format": _FORMAT,
        **{name: getattr(landing, name) for name in Landing.__dataclass_fields__ if name not in ("number", "origins")},
        "origins": [dict(each) for each in landing.origins],
    }


def _read(folder: Path, number: int) -> Landing:
    file = folder / MANIFEST
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise RunError(f"{file}: of another version, expected format {_FORMAT}")
        return Landing(**{**values, "number": number, "origins": tuple(values["origins"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: can't be read ({type(error).__name__}), expected what landed there") from None
