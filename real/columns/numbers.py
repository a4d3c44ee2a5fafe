"""Columns of numbers as inputs: normalised by what training saw, cut off, and finite whatever is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

_LARGEST = 1e6
"""Normalised values are cut off here, so that a wild one stays finite in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericEncoding:
    """How a numeric column is encoded."""

    column: str
    mean: float
    std: float
    """Standard deviation; 0: constant in training."""
    at: int
    """Number of the input that holds the normalised value."""
    missing_at: int | None
    """Number of the input that marks a missing value."""


def fit_numeric(
    name: str, values: NDArray[np.float64], old: NumericEncoding | None, free: Iterator[int]
) -> NumericEncoding:
    """The encoding of a column from its values in a training set; `free` gives the numbers of new inputs."""
    is_known = np.isfinite(values)
    at = next(free) if old is None else old.at
    missing_at = None if old is None else old.missing_at
    if missing_at is None and not is_known.all():
        missing_at = next(free)
    if old is not None and old.std > 0.0:
        mean, std = old.mean, old.std
    else:
        mean, std = moments(values[is_known])
    return NumericEncoding(column=name, mean=mean, std=std, at=at, missing_at=missing_at)


def write_numbers(inputs: NDArray[np.float32], rows: pl.DataFrame, columns: Sequence[NumericEncoding]) -> None:
    """Set the inputs of numeric columns, of shape (rows, inputs), all of which are 0."""
    values = numbers(rows, [each.column for each in columns])
    is_known = np.isfinite(values)
    for index, numeric in enumerate(columns):
        if numeric.std > 0.0:
            of_known = normalised(values[:, index], numeric.mean, numeric.std)
            inputs[:, numeric.at] = np.where(is_known[:, index], of_known, 0.0)
        if numeric.missing_at is not None:
            inputs[:, numeric.missing_at] = ~is_known[:, index]


def numbers(rows: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns as float64, shape (rows, columns); null is NaN."""
    if not names:
        return np.empty((rows.height, 0))
    return rows.select(pl.col(names).cast(pl.Float64)).to_numpy()


def moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, without overflow; (value, 0) for a constant, (0, 0) for nothing."""
    if len(values) == 0 or values.min() == values.max():
        return (float(values[0]) if len(values) else 0.0), 0.0
    scale = float(np.abs(values).max())
    scaled = values / scale
    return float(scaled.mean()) * scale, float(scaled.std()) * scale


def normalised(values: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    """(value - mean) / std, cut off where it gets wild; NaN stays NaN. `std` is positive."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = (values - mean) / std
    return np.clip(result, -_LARGEST, _LARGEST)
