"""From columns as a file has them to those of landed samples, and what is wrong with single records.

Landed, the time is seconds, numeric features are floats, categorical ones and classes are text. So files of
different kinds, and of the same kind written by different programs, make one table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat

import numpy as np
import polars as pl
from numpy.typing import NDArray

from real.columns.categories import texts
from twinclock.dataset import as_seconds, is_time
from twinclock.folder import FolderConfig
from twinclock.section import shown


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns in use, by their roles."""

    time: str
    numbers: tuple[str, ...]
    """Numeric features, and the label of a regression."""
    texts: tuple[str, ...]
    """Categorical features, and the label of a classification."""
    label: str
    key: tuple[str, ...]

    @classmethod
    def of(cls, config: FolderConfig, task: str) -> Wanted:
        """Those that a configuration names."""
        numeric, categorical = config.features.numeric, config.features.categorical
        is_number = task == "regression"
        return cls(
            time=config.time,
            numbers=(*numeric, config.label) if is_number else tuple(numeric),
            texts=tuple(categorical) if is_number else (*categorical, config.label),
            label=config.label,
            key=tuple(config.key or ()),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that a record must have, each once."""
        return tuple(dict.fromkeys([self.time, *self.numbers, *self.texts, *self.key]))

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of landed samples."""
        schema: dict[str, pl.DataType] = {self.time: pl.Float64()}
        schema |= {name: pl.Float64() for name in self.numbers}
        return schema | {name: pl.String() for name in self.texts}


@dataclass(frozen=True, slots=True)
class Typed:
    """Records in the columns of landed samples."""

    rows: pl.DataFrame
    keys: pl.Series | None
    faults: NDArray[np.object_]
    """Of each record what is wrong with it, else None."""


def wrong_schema(schema: pl.Schema, wanted: Wanted) -> str | None:
    """What is wrong with the columns of a file that says their types; None: nothing."""
    faults = [f"no column {name!r}" for name in wanted.names if name not in schema]
    for name in [name for name in wanted.names if name in schema]:
        data_type = schema[name]
        is_number = data_type.is_numeric() or data_type in (pl.Boolean, pl.Null)
        if data_type.is_nested() or data_type == pl.Object:
            faults.append(f"column {name!r} is {data_type}, expected one value a row")
        elif name in wanted.numbers and not is_number:
            faults.append(f"column {name!r} is {data_type}, expected numbers")
        elif name == wanted.time and not (is_time(data_type) or data_type in (pl.String, pl.Null)):
            faults.append(f"column {name!r} is {data_type}, expected a number of seconds, a date or a datetime")
    return "; ".join(faults) or None


def typed(raw: pl.DataFrame, wanted: Wanted) -> Typed:
    """The records of a frame that has all columns, each of a type that `wrong_schema` lets through, or text."""
    faults = np.full(raw.height, None, object)
    seconds = _times(raw[wanted.time], faults)
    columns = {wanted.time: pl.Series(wanted.time, seconds)}
    for name in wanted.numbers:
        if name not in columns:
            columns[name] = _numbers(raw[name], faults)
    for name in wanted.texts:
        columns[name] = texts(raw[name])
    label = columns[wanted.label]
    missing = label.is_null() | (label.is_nan().fill_null(True) if label.dtype.is_float() else False)
    _mark(faults, missing.to_numpy(), repeat(f"label {wanted.label!r} is missing"))
    if label.dtype.is_float():
        _mark(faults, label.is_infinite().fill_null(False).to_numpy(), repeat(f"label {wanted.label!r} is infinite"))
    keys = None
    if wanted.key:
        parts = [texts(raw[name]) for name in wanted.key]
        for part in parts:
            _mark(faults, part.is_null().to_numpy(), repeat(f"key {part.name!r} is missing"))
        # with their lengths, so that no two keys come to the same text
        measured = [pl.col(part.name).str.len_bytes().cast(pl.String) + ":" + pl.col(part.name) for part in parts]
        keys = pl.DataFrame(parts).select(pl.concat_str(measured).alias("key")).to_series()
    return Typed(pl.DataFrame(columns).select(*wanted.schema), keys, faults)


def _mark(faults: NDArray[np.object_], is_wrong: NDArray[np.bool_], details: Iterable[str]) -> None:
    """Note a fault of each record that is wrong and has none yet; `details` has one for each of these."""
    for index, detail in zip(np.flatnonzero(is_wrong).tolist(), details, strict=False):
        if faults[index] is None:
            faults[index] = detail


def _numbers(raw: pl.Series, faults: NDArray[np.object_]) -> pl.Series:
    if raw.dtype != pl.String:
        return raw.cast(pl.Float64)
    parsed = raw.str.strip_chars().cast(pl.Float64, strict=False)
    wrong = (parsed.is_null() & raw.is_not_null()).to_numpy()
    _mark(faults, wrong, (f"{raw.name!r} is {shown(raw[int(at)])}, expected a number" for at in np.flatnonzero(wrong)))
    return parsed


def _times(raw: pl.Series, faults: NDArray[np.object_]) -> NDArray[np.float64]:
    """Seconds; of dates and datetimes since 1970, UTC where they do not say."""
    if raw.dtype == pl.String:
        numbers = raw.str.strip_chars().cast(pl.Float64, strict=False)
        seconds = numbers.to_numpy(writable=True)
        for at in (numbers.is_null() & raw.is_not_null()).arg_true().to_list():
            seconds[at] = _instant(raw[at], at, faults, raw.name)
    else:
        seconds = as_seconds(raw)
    wrong = ~np.isfinite(seconds)
    values = (shown(str(raw[int(at)])) for at in np.flatnonzero(wrong))
    _mark(faults, wrong, (f"time {raw.name!r} is {value}, expected a finite time" for value in values))
    return np.where(wrong, 0.0, seconds)


def _instant(text: str, at: int, faults: NDArray[np.object_], name: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        faults[at] = f"time {name!r} is {shown(text)}, expected a number of seconds, a date or a datetime"
        return float("nan")
