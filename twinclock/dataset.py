"""A table of samples from a Parquet file: found, checked, and in data-time order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from twinclock.arrays import first_not_finite, shape_of
from twinclock.arrivals import RecordedConfig
from twinclock.durations import Delay
from twinclock.errors import DataError
from twinclock.lateness import Reordered, ReorderedStream, reorder
from twinclock.section import ListOf, Section, WrongKeyError, nearest
from twinclock.stream import RecordedStream, Stream, first_decrease

if TYPE_CHECKING:
    from twinclock.folder import FolderConfig

Bundled: TypeAlias = Literal["portal_rodents", "nycflights13"]
DATA_FOLDER = Path(__file__).parent / "data"
"""Where the bundled data sets lie, each with its origin, licence and leakage notes in README.md."""
_END_BYTES = 32 * 2**20
"""Bytes at each end of a file that its fingerprint is of."""


class FeatureColumns(Section):
    """Which columns a model may look at; nulls, NaN and infinities in them are the encoder's business."""

    numeric: ListOf[str] = ()
    categorical: ListOf[str] = ()
    """Compared for equality only, whatever their type."""
    arrays: ListOf[str] = ()
    """Numbers of a fixed shape, such as images, all of them there and finite."""

    @model_validator(mode="after")
    def _distinct(self) -> FeatureColumns:
        if not self.names:
            raise ValueError("got no column, expected at least one: numeric, categorical or arrays")
        twice = [name for name in dict.fromkeys(self.names) if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"got {', '.join(twice)} more than once, expected each column once")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Numeric columns first, arrays last."""
        return (*self.numeric, *self.categorical, *self.arrays)


class TableConfig(Section):
    """A recorded data set: a bundled one by name, or a Parquet file with its columns named."""

    kind: Literal["table"] = "table"
    dataset: Bundled | None = None
    """A bundled data set; brings its own columns, each of which may still be chosen otherwise."""
    path: str | None = None
    """A Parquet file; needs `time`, `label` and `features`."""
    time: str | None = None
    """Column that the rows are sorted by: a number of seconds, a date or a datetime."""
    label: str | None = None
    features: FeatureColumns | None = None
    limit: int | None = Field(default=None, gt=0)
    """Take only the first rows; None: all."""
    allowed_lateness: Delay | None = None
    """Data time by which a row may be older than the newest before it and be trained on; None: rows are in order."""
    arrival: str | None = None
    """Column of when each row came, on the axis of `time`; None: in the order of the file."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""

    @model_validator(mode="after")
    def _complete(self) -> TableConfig:
        if (self.dataset is None) == (self.path is None):
            got = "neither dataset nor path" if self.path is None else "both dataset and path"
            raise ValueError(f"got {got}, expected a path or a dataset (one of {', '.join(get_args(Bundled))})")
        missing = [key for key in ("time", "label", "features") if getattr(self, key) is None]
        if self.path is not None and missing:
            raise ValueError(
                f"{', '.join(missing)} missing, expected beside path: only a bundled dataset knows its own columns"
            )
        if self.arrival is not None and self.allowed_lateness is None:
            raise WrongKeyError("allowed_lateness", "got null, expected a duration beside data.arrival, possibly 0")
        return self

    @property
    def file(self) -> Path:
        """The Parquet file."""
        return Path(self.path) if self.path is not None else DATA_FOLDER / f"{self.dataset}.parquet"

    @property
    def columns(self) -> Columns:
        """The columns in use: those named here, else the bundled data set's own."""
        chosen = {key: getattr(self, key) for key in ("time", "label", "features") if getattr(self, key) is not None}
        return Columns(**chosen) if self.dataset is None else replace(_BUNDLED_COLUMNS[self.dataset], **chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The role of each column in use."""

    time: str
    label: str
    features: FeatureColumns


_BUNDLED_COLUMNS: dict[Bundled, Columns] = {
    # genus all but tells the species, record_id is a running number: neither is a feature
    "portal_rodents": Columns(
        time="t",
        label="species_id",
        features=FeatureColumns(
            numeric=("hindfoot_length", "weight"), categorical=("month", "plot_id", "plot_type", "sex")
        ),
    ),
    # arr_delay and cancelled are the outcome itself; in a single year each month is new when it comes
    "nycflights13": Columns(
        time="t",
        label="late15",
        features=FeatureColumns(
            numeric=(
                "dep_hour",
                "distance",
                "temp",
                "humid",
                "wind_speed",
                "wind_dir",
                "precip",
                "pressure",
                "visib",
            ),
            categorical=("carrier", "origin", "dest"),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A data set in memory; row number = sample position."""

    config: TableConfig | FolderConfig
    columns: Columns
    frame: pl.DataFrame
    """Feature columns in the order of `columns.features.names`, then the label."""
    timestamps: NDArray[np.float64]
    """Seconds: since 1970 for dates and datetimes, else as in the file."""
    is_calendar: bool
    """Whether data time is a calendar's (the time column holds dates or datetimes)."""
    reordered: Reordered | None = None
    """How rows came that were not in order; None: they were."""

    @property
    def num_samples(self) -> int:
        """Rows in use."""
        return len(self.timestamps)

    def stream(self) -> Stream:
        """The table's time axis."""
        return RecordedStream(self.timestamps) if self.reordered is None else ReorderedStream(self.reordered)

    def rows(self, ranges: Iterable[Sequence[int]]) -> pl.DataFrame:
        """Features and label of the half-open ranges, in the order given."""
        return pl.concat([self.frame.clear(), *(self.frame.slice(first, stop - first) for first, stop in ranges)])

    def matrix(self, columns: Sequence[str], first: int, stop: int) -> NDArray[np.float64]:
        """Numeric columns of the positions [first, stop), shape (samples, columns); null is NaN."""
        rows = self.frame.slice(first, stop - first)
        return rows.select(pl.col(name).cast(pl.Float64) for name in columns).to_numpy().reshape(-1, len(columns))

    def take(self, positions: NDArray[np.int64]) -> pl.DataFrame:
        """Features and label of single positions, in the order given."""
        return self.frame[positions]

    def label_ranks(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each position as its number, from 1, among the labels that occur there, in ascending order."""
        labels = self.frame[self.columns.label][positions]
        if labels.dtype == pl.Categorical:  # whose order may be that of appearance
            labels = labels.cast(pl.String)
        return labels.rank("dense").cast(pl.Int64).to_numpy()


def load_table(config: TableConfig) -> Table:
    """Read and check a data set. DataError names the file, and the column and row where there is one."""
    file, columns = config.file, config.columns
    schema = _schema(file)
    wanted = [*columns.features.names, columns.label, columns.time]
    roles = [("time", columns.time), ("label", columns.label)]
    if config.arrival is not None:
        roles.append(("arrival", config.arrival))
        wanted.append(config.arrival)
    roles += [("features.numeric", name) for name in columns.features.numeric]
    roles += [("features.categorical", name) for name in columns.features.categorical]
    roles += [("features.arrays", name) for name in columns.features.arrays]
    _check_columns(file, schema, roles)
    if columns.label in columns.features.names:
        raise DataError(f"{file}: column {columns.label!r} is the label, it can't be a feature as well")
    scan = pl.scan_parquet(file, glob=False).select(list(dict.fromkeys(wanted)))
    try:
        frame = (scan if config.limit is None else scan.head(config.limit)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(file, error) from None
    if frame.height == 0:
        raise DataError(f"{file}: the table has no rows, expected at least one")
    _check_label(file, frame[columns.label])
    for name in columns.features.arrays:
        _check_array(file, frame[name])
    time, reordered = frame[columns.time], _reordered(config, frame)
    return Table(
        config=config,
        columns=columns,
        frame=(frame if reordered is None else frame[reordered.rows]).select(*columns.features.names, columns.label),
        timestamps=timestamps(file, time) if reordered is None else reordered.timestamps,
        is_calendar=schema[columns.time].is_temporal(),
        reordered=reordered,
    )


def _reordered(config: TableConfig, frame: pl.DataFrame) -> Reordered | None:
    """The rows in data-time order, where they may come in another."""
    if config.allowed_lateness is None:
        return None
    come = None if config.arrival is None else _seconds(config.file, frame[config.arrival], "arrival")
    return reorder(_seconds(config.file, frame[config.columns.time], "time"), config.allowed_lateness, come)


def numeric_columns(config: TableConfig) -> tuple[str, ...]:
    """The feature columns that hold numbers, in their order. DataError if the file can't be read."""
    schema = _schema(config.file)
    return tuple(name for name in config.columns.features.numeric if name in schema)


def fingerprint(config: TableConfig | RecordedConfig) -> str:
    """SHA-256 (hex) of the file's size, its first and its last 32 MiB; of a file up to 64 MiB that is all of it.

    The end of a Parquet file says where every column chunk lies, and how large and between which values
    it is, so few changes between the ends leave both as they were. DataError if the file can't be read.
    """
    try:
        with config.file.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(f"{size_bytes} bytes: ".encode())
            file.seek(0)
            digest.update(file.read(_END_BYTES))
            file.seek(max(_END_BYTES, size_bytes - _END_BYTES))
            digest.update(file.read())
    except OSError as error:
        raise DataError(f"{config.file}: can't be read ({error.strerror}), expected a file of samples") from None
    return digest.hexdigest()


def check_numeric_label(config: TableConfig) -> None:
    """DataError unless the label, as far as it is there, is a finite number: what a regression predicts."""
    file, name = config.file, config.columns.label
    data_type = _schema(file).get(name)
    if data_type is None:
        return
    if not data_type.is_numeric():
        raise DataError(f"{file}: label column {name!r} is {data_type}, expected numbers for training.task regression")
    scan = pl.scan_parquet(file, glob=False).select(pl.col(name).cast(pl.Float64).is_infinite())
    is_infinite = (scan if config.limit is None else scan.head(config.limit)).collect()[name]
    if is_infinite.any():
        raise DataError(
            f"{file}: label column {name!r} is infinite in row {is_infinite.arg_max()} (counted from 0), "
            "expected finite numbers for training.task regression"
        )


def _schema(file: Path) -> pl.Schema:
    if not file.exists():
        raise DataError(f"{file}: no such file, expected a Parquet file")
    if not file.is_file():
        raise DataError(f"{file}: is a folder, expected a Parquet file")
    try:
        return pl.scan_parquet(file, glob=False).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120]
    return DataError(f"{file}: can't be read as Parquet ({reason}), expected a Parquet file")


def _check_columns(file: Path, schema: pl.Schema, roles: Sequence[tuple[str, str]]) -> None:
    """All columns exist and have a type that their role allows; every fault in one error."""
    faults = []
    for role, name in roles:
        data_type = schema.get(name)
        if data_type is None:
            faults.append(f"no column {name!r} (asked for by data.{role}); {nearest(name, schema.names())}")
        elif role in ("time", "arrival") and not is_time(data_type):
            faults.append(f"{role} column {name!r} is {data_type}, expected a number of seconds, a date or a datetime")
        elif role == "features.numeric" and not (data_type.is_numeric() or data_type == pl.Boolean):
            faults.append(f"column {name!r} is {data_type}, expected a number (or name it under features.categorical)")
        elif role == "features.arrays":
            if not shape_of(data_type):
                faults.append(
                    f"column {name!r} is {data_type}, expected numbers of a fixed shape, as Array(UInt8, (28, 28))"
                )
        elif data_type.is_nested():
            faults.append(f"column {name!r} is {data_type}, expected one value a row")
    if faults:
        raise DataError(f"{file}: " + "; ".join(faults))


def _check_label(file: Path, label: pl.Series) -> None:
    unknown = label.is_null()
    if label.dtype.is_float():
        unknown = unknown | label.is_nan()
    if unknown.any():
        raise DataError(
            f"{file}: label column {label.name!r} is null in {unknown.sum()} of {len(label)} rows, "
            f"the first is row {unknown.arg_max()} (counted from 0), expected a label in each"
        )


def _check_array(file: Path, column: pl.Series) -> None:
    row = first_not_finite(column)
    if row is not None:
        raise DataError(
            f"{file}: column {column.name!r} is null, or not finite, in row {row} (counted from 0), "
            "expected a finite number in each place of an array"
        )


def is_time(data_type: pl.DataType) -> bool:
    """Can a column of this type say when samples are from?"""
    return data_type.is_numeric() or data_type == pl.Date or data_type == pl.Datetime


def timestamps(file: Path, time: pl.Series) -> NDArray[np.float64]:
    """A time column in seconds. DataError names the row whose time is missing, infinite or before that above it."""
    seconds = _seconds(file, time, "time")
    unsorted = first_decrease(seconds)
    if unsorted is not None:
        raise DataError(
            f"{file}: not sorted by time column {time.name!r}: row {unsorted} (counted from 0) has {time[unsorted]}, "
            f"after {time[unsorted - 1]} in the row before"
        )
    return seconds


def as_seconds(time: pl.Series) -> NDArray[np.float64]:
    """A column of which `is_time` is true as seconds, those of dates and datetimes since 1970; null is NaN."""
    # a date's physical value is days; other temporal types come as a number of their unit
    seconds = (time.to_physical() if time.dtype.is_temporal() else time).cast(pl.Float64).to_numpy(writable=True)
    if time.dtype == pl.Date:
        seconds *= 86_400.0
    elif isinstance(time.dtype, pl.Datetime):
        seconds /= {"ms": 1e3, "us": 1e6, "ns": 1e9}[time.dtype.time_unit]
    return seconds


def _seconds(file: Path, time: pl.Series, role: str) -> NDArray[np.float64]:
    if time.null_count():
        row = time.is_null().arg_max()
        raise DataError(f"{file}: {role} column {time.name!r} is null in row {row} (counted from 0), expected a time")
    seconds = as_seconds(time)
    finite = np.isfinite(seconds)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{file}: {role} column {time.name!r} is no finite number in row {row} (counted from 0): {time[row]}"
        )
    return seconds
