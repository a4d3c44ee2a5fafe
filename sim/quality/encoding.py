"""Rows of a table as numbers for the proxy: standardised columns, marks where a value is missing, and one column for
each frequent category.

What is fitted, is fitted on the training set alone, so the numbers of a model depend on nothing that came later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.dataset import Table

_MAX_CATEGORIES = 100
"""Categories of a column that get a number of their own; the others are like one that was never seen."""
_LARGEST = 10.0
"""Standardised values are cut off here."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A whole table as arrays. Codes stand for values in ascending order; their number means nothing else."""

    numeric: NDArray[np.float64]
    """Shape (samples, numeric columns); what is missing is NaN."""
    codes: NDArray[np.int64]
    """Shape (samples, categorical columns); null is 0, and a category like any other."""
    labels: NDArray[np.int64]
    """Shape (samples,)."""


def all_samples(table: Table) -> Samples:
    """Every row of a table."""
    features, everything = table.columns.features, np.arange(table.num_samples)
    codes = [
        table.frame[name].cast(pl.String).rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
        for name in features.categorical
    ]
    numeric = np.empty((table.num_samples, 0))
    if features.numeric:
        numeric = table.matrix(features.numeric, 0, table.num_samples)
    return Samples(
        np.where(np.isfinite(numeric), numeric, np.nan),
        np.stack(codes, axis=1) if codes else np.empty((table.num_samples, 0), np.int64),
        table.label_ranks(everything),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """How the rows are encoded for one model."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    """0: constant in training, or never there; such a column says nothing."""
    gaps: NDArray[np.int64]
    """The numeric columns, ascending, that had gaps in training: each has a mark for them too."""
    categories: tuple[NDArray[np.int64], ...]
    """For each categorical column the codes that have a number, ascending."""

    @property
    def num_inputs(self) -> int:
        """Numbers a row."""
        return len(self.mean) + len(self.gaps) + sum(map(len, self.categories))

    def inputs(self, samples: Samples, at: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        """Shape (rows, num_inputs), finite; what is missing is the mean, and 1 in its mark."""
        scale = np.where(self.std > 0.0, self.std, np.inf)
        values = np.clip((samples.numeric[at] - self.mean) / scale, -_LARGEST, _LARGEST)
        is_missing = np.isnan(samples.numeric[at])[:, self.gaps].astype(np.float64)
        is_category = [
            (samples.codes[at, column, None] == known[None, :]).astype(np.float64)
            for column, known in enumerate(self.categories)
        ]
        return np.concatenate([np.nan_to_num(values), is_missing, *is_category], axis=1)

    def places_of(self, older: Encoder) -> NDArray[np.int64]:
        """For each number of an encoder that this one extends, which of these it is."""
        begin = len(self.mean)
        places = [np.arange(begin)]
        for old, new in zip((older.gaps, *older.categories), (self.gaps, *self.categories), strict=True):
            places.append(begin + np.searchsorted(new, old))
            begin += len(new)
        return np.concatenate(places)


def fitted_encoder(samples: Samples, at: NDArray[np.int64]) -> Encoder:
    """The encoder of a training set, which is not empty."""
    numeric = samples.numeric[at]
    there = np.isfinite(numeric)
    count = np.maximum(there.sum(axis=0), 1)
    known = np.where(there, numeric, 0.0)
    mean = known.sum(axis=0) / count
    with np.errstate(over="ignore"):  # a column too wide to be squared is taken as one that says nothing
        std = np.sqrt((np.where(there, known - mean, 0.0) ** 2).sum(axis=0) / count)
    std[~np.isfinite(std)] = 0.0
    gaps = np.flatnonzero(~there.all(axis=0))
    columns = range(samples.codes.shape[1])
    return Encoder(mean, std, gaps, tuple(_frequent(samples.codes[at, column]) for column in columns))


def extended_encoder(older: Encoder, samples: Samples, at: NDArray[np.int64]) -> Encoder:
    """The same numbers as an older encoder gives, and more for categories, and gaps, that it did not know."""
    newer = fitted_encoder(samples, at)
    both = (np.union1d(old, new) for old, new in zip(older.categories, newer.categories, strict=True))
    return Encoder(older.mean, older.std, np.union1d(older.gaps, newer.gaps), tuple(both))


def _frequent(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    known, counts = np.unique(codes, return_counts=True)
    if len(known) <= _MAX_CATEGORIES:
        return known
    return np.sort(known[np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES]])
