"""Columns of categories as inputs: a mark for each category, or one code a column for a model that embeds them.

Values are compared as texts, and keep the numbers that an older encoding gave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.errors import DataError

UNKNOWN = -1
"""The class number of a label that was never seen in training."""
UNKNOWN_CODE = 0
"""The code of a category that was never seen in training, and of a null if training had none."""
MAX_VALUES = 5_000
"""Different values that a categorical column or the label may have in a training set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalEncoding:
    """How a categorical column is encoded: one input per category, 1 where it is that."""

    column: str
    categories: tuple[str, ...]
    at: tuple[int, ...]
    """Number of each category's input."""
    null_at: int | None
    """Number of the input that marks a null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedEncoding:
    """How a categorical column is encoded for a model that embeds it: one input, which holds a code."""

    column: str
    at: int
    """Number of the input that holds the code."""
    categories: tuple[str, ...]
    codes: tuple[int, ...]
    """Code of each category, from 1."""
    null_code: int | None
    """Code of a null; None: training had none, and it is like an unknown category."""

    @property
    def num_codes(self) -> int:
        """All codes are below it. That of unknown categories counts."""
        return 1 + len(self.categories) + (self.null_code is not None)


def fit_categorical(texts: pl.Series, old: CategoricalEncoding | None, free: Iterator[int]) -> CategoricalEncoding:
    """The encoding of a column from its texts in a training set; `free` gives the numbers of new inputs."""
    known = () if old is None else old.categories
    categories = with_new_values(texts, known, "categorical column")
    at = (() if old is None else old.at) + tuple(islice(free, len(categories) - len(known)))
    null_at = None if old is None else old.null_at
    if null_at is None and texts.null_count():
        null_at = next(free)
    return CategoricalEncoding(column=texts.name, categories=categories, at=at, null_at=null_at)


def fit_coded(texts: pl.Series, old: CodedEncoding | None, at: int) -> CodedEncoding:
    """The codes of a column from its texts in a training set; new ones come after those of `old`."""
    known = () if old is None else old.categories
    categories = with_new_values(texts, known, "categorical column")
    null_code = None if old is None else old.null_code
    first = 1 if old is None else old.num_codes
    stop = first + len(categories) - len(known)
    codes = (() if old is None else old.codes) + tuple(range(first, stop))
    if null_code is None and texts.null_count():
        null_code = stop
    return CodedEncoding(column=texts.name, at=at, categories=categories, codes=codes, null_code=null_code)


def write_marks(inputs: NDArray[np.float32], rows: pl.DataFrame, column: CategoricalEncoding) -> None:
    """Set the inputs of a categorical column, of shape (rows, inputs), all of which are 0."""
    as_texts = texts(rows[column.column])
    at = positions(as_texts, column.categories, column.at)
    if column.null_at is not None:
        at[as_texts.is_null().to_numpy()] = column.null_at
    marked = np.flatnonzero(at != UNKNOWN)
    inputs[marked, at[marked]] = 1.0


def write_codes(inputs: NDArray[np.float32], rows: pl.DataFrame, column: CodedEncoding) -> None:
    """Set the input of a coded column; every code is exact in float32, as there are at most MAX_VALUES and two."""
    as_texts = texts(rows[column.column])
    codes = positions(as_texts, column.categories, column.codes, otherwise=UNKNOWN_CODE)
    if column.null_code is not None:
        codes[as_texts.is_null().to_numpy()] = column.null_code
    inputs[:, column.at] = codes


def with_new_values(texts: pl.Series, known: tuple[str, ...], role: str) -> tuple[str, ...]:
    """The known values, then the new ones in alphabetical order. DataError if these are too many."""
    new = sorted(set(texts.drop_nulls().unique().to_list()).difference(known))
    if len(known) + len(new) > MAX_VALUES:
        raise DataError(
            f"{role} {texts.name!r} has {len(known) + len(new)} different values in the training set, "
            f"expected at most {MAX_VALUES}"
        )
    return (*known, *new)


def texts(column: pl.Series) -> pl.Series:
    """Values as text: equal texts for equal values, null for null and NaN."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    elif column.dtype == pl.Binary:
        return column.bin.encode("hex")
    elif column.dtype == pl.Duration:
        column = column.to_physical()
    return column.cast(pl.String)


def positions(
    texts: pl.Series, known: Sequence[str], at: Sequence[int], *, otherwise: int = UNKNOWN
) -> NDArray[np.int64]:
    """For each text the number that goes with it; `otherwise` for null and for what isn't known."""
    return texts.replace_strict(known, at, default=otherwise, return_dtype=pl.Int64).to_numpy(writable=True)
