"""Columns of arrays, such as images, as inputs: one mean and one deviation for all that a column holds.

Work is done on a block of rows at a time, so that beside the column and the inputs little memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from real.columns.numbers import normalised
from twinclock.arrays import blocks, shape_of
from twinclock.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEncoding:
    """How a column of arrays is encoded."""

    column: str
    shape: tuple[int, ...]
    """Of the array in each row."""
    mean: float
    """Over all values of all rows."""
    std: float
    """Standard deviation; 0: constant in training."""
    at: int
    """Number of the first input; the others follow it, in C order of the array."""

    @property
    def size(self) -> int:
        """Inputs."""
        return math.prod(self.shape)


def fit_array(column: pl.Series, old: ArrayEncoding | None, free: Iterator[int]) -> ArrayEncoding:
    """The encoding of a column from its arrays in a training set; `free` gives the numbers of new inputs."""
    shape = shape_of(column.dtype)
    if old is not None and old.shape != shape:
        raise ConfigError(
            f"data.features.arrays: the model to start from was trained on arrays {column.name!r} of shape "
            f"{old.shape}, now it is {shape}"
        )
    at = old.at if old is not None else min(islice(free, math.prod(shape)))
    mean, std = (old.mean, old.std) if old is not None and old.std > 0.0 else _moments(column)
    return ArrayEncoding(column=column.name, shape=shape, mean=mean, std=std, at=at)


def write_array(inputs: NDArray[np.float32], rows: pl.DataFrame, column: ArrayEncoding) -> None:
    """Set the inputs of an array column, of shape (rows, inputs), which are 0; what is not finite is the mean."""
    if column.std == 0.0:
        return
    for first, block in blocks(rows[column.column]):
        values = np.where(np.isfinite(block), normalised(block, column.mean, column.std), 0.0)
        inputs[first : first + len(block), column.at : column.at + column.size] = values


def _moments(column: pl.Series) -> tuple[float, float]:
    """Mean and standard deviation of all finite values, without overflow; std is 0 for a constant, both for nothing."""
    least, most = math.inf, -math.inf
    for _, block in blocks(column):
        is_known = np.isfinite(block)
        least = min(least, float(block.min(where=is_known, initial=math.inf)))
        most = max(most, float(block.max(where=is_known, initial=-math.inf)))
    if least >= most:
        return (least if least == most else 0.0), 0.0
    scale = max(abs(least), abs(most))
    total, count = 0.0, 0
    for _, block in blocks(column):
        is_known = np.isfinite(block)
        total += float((block / scale).sum(where=is_known))
        count += int(is_known.sum())
    mean, squares = total / count, 0.0
    for _, block in blocks(column):
        squares += float(np.square(block / scale - mean).sum(where=np.isfinite(block)))
    return mean * scale, math.sqrt(squares / count) * scale
