"""Columns whose values are arrays of one fixed shape, such as images: their shape, and their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_VALUES_A_BLOCK = 2**17
"""Values that are looked at together: 1 MiB as float64."""


def shape_of(data_type: pl.DataType) -> tuple[int, ...]:
    """The shape of each value; () if it has none that is fixed, no room, or no integers or floats of up to 64 bits."""
    if not isinstance(data_type, pl.Array):
        return ()
    inner: object = data_type
    while isinstance(inner, pl.Array):
        inner = inner.inner
    is_number = isinstance(inner, pl.DataType) and (inner in _INTEGERS or inner.is_float())
    shape = tuple(data_type.shape)
    return shape if is_number and 0 not in shape else ()


def blocks(column: pl.Series) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Some rows at a time as float64, shape (rows, values of a row), each with its first row; null is NaN."""
    for first, values in _raw_blocks(column):
        yield first, values.astype(np.float64)


def first_not_finite(column: pl.Series) -> int | None:
    """The first row that is null, or has a value in it that is null, NaN or infinite; None: there is none."""
    for first, values in _raw_blocks(column):
        if values.dtype.kind == "f":  # whole numbers that are all there stay whole numbers
            is_wrong = ~np.isfinite(values).all(axis=1)
            if is_wrong.any():
                return first + int(is_wrong.argmax())
    return None


def _raw_blocks(column: pl.Series) -> Iterator[tuple[int, NDArray[Any]]]:
    """The same in the column's own type; as floats if something is null."""
    size = math.prod(shape_of(column.dtype))
    step = max(1, _VALUES_A_BLOCK // size)
    for first in range(0, len(column), step):
        values = column.slice(first, step).to_numpy()
        yield first, values.reshape(len(values), size)
