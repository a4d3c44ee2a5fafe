"""Distances that depend on the order of the values: Kolmogorov-Smirnov, Cramér-von Mises, Wasserstein, energy.

All four are read off the two empirical distribution functions of a feature, and those off one sorted list of
both windows. So both windows are sorted together, all features at once, and each distance is a few sums over
the result. Which row belongs to which window is said apart from that: a permutation test sorts once.

The answers are those of `ks_2samp`, `cramervonmises_2samp`, `wasserstein_distance` and `energy_distance` in
scipy.stats, feature by feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats, scale_exponents

_BLOCK_VALUES = 2**21
"""Features are dealt with in groups of at most so many values (16 MB for each array in use), at least one."""
_SMALLEST_STD = 0.001


@dataclass(frozen=True, slots=True)
class Pooled:
    """Both windows as one, sorted feature by feature. Arrays have a row for each feature, N = n + m columns."""

    values: Floats
    """Ascending; the missing ones come last and repeat the largest, so that no distance lies between them."""
    rows: NDArray[np.int64]
    """Which row of the two windows, one below the other, each value is from."""
    is_finite: NDArray[np.bool_]
    is_last: NDArray[np.bool_]
    """The value after this one is another, or missing: here a distribution function has risen all the way."""
    exponents: NDArray[np.int64]
    """Values are divided by 2 to the power of this, one for each feature; 0 unless they are huge or tiny."""


@dataclass(frozen=True, slots=True)
class Split:
    """A pooled sample divided into two windows."""

    pooled: Pooled
    in_x: NDArray[np.bool_]
    """Whether a value is there and belongs to the reference."""
    counts_x: Floats
    """Values of the reference up to and including this one; `counts_y` likewise."""
    counts_y: Floats
    is_valid: NDArray[np.bool_]
    """The feature has two values in each window, and is not constant. Others count 0."""

    @property
    def gaps(self) -> Floats:
        """Distribution function of the reference minus that of the current window, right behind each value."""
        gaps: Floats = self.counts_x / _total(self.counts_x) - self.counts_y / _total(self.counts_y)
        return gaps


def pools(x: Floats, y: Floats) -> Iterator[Pooled]:
    """Both windows pooled and sorted, some features at a time, so that memory stays bounded."""
    num_features = max(1, _BLOCK_VALUES // (len(x) + len(y)))
    for first in range(0, x.shape[1], num_features):
        columns = slice(first, first + num_features)
        yield pool(x[:, columns], y[:, columns])


def pool(x: Floats, y: Floats) -> Pooled:
    """Both windows pooled and sorted."""
    both = np.concatenate([x, y]).T.copy()
    both[~np.isfinite(both)] = np.nan
    exponents = scale_exponents(both)
    if exponents.any():
        both = np.ldexp(both, -exponents[:, None])
    rows = np.argsort(both, axis=1)
    values = np.take_along_axis(both, rows, axis=1)
    is_finite = ~np.isnan(values)
    if not is_finite.all():
        values = np.where(is_finite, values, np.fmax.reduce(values, axis=1, initial=-np.inf)[:, None])
        values[~is_finite.any(axis=1)] = 0.0
    is_last = np.ones(values.shape, bool)
    is_last[:, :-1] = (values[:, 1:] != values[:, :-1]) | (is_finite[:, 1:] != is_finite[:, :-1])
    return Pooled(values, rows, is_finite, is_last, exponents)


def split(pooled: Pooled, is_reference: NDArray[np.bool_]) -> Split:
    """The pooled sample divided anew. is_reference: for each of the N rows, whether it belongs to the reference."""
    in_x = is_reference[pooled.rows] & pooled.is_finite
    counts_x = np.cumsum(in_x, axis=1, dtype=np.float64)
    num_finite = pooled.is_finite.sum(axis=1, keepdims=True)
    counts_y = np.minimum(np.arange(1, in_x.shape[1] + 1), num_finite) - counts_x
    is_valid = (counts_x[:, -1] >= 2) & (counts_y[:, -1] >= 2) & (pooled.values[:, 0] < pooled.values[:, -1])
    return Split(pooled, in_x, counts_x, counts_y, is_valid)


def ks(windows: Split) -> Floats:
    """The two-sample Kolmogorov-Smirnov statistic of each feature: the largest gap between the two distributions."""
    largest = np.where(windows.pooled.is_last, np.abs(windows.gaps), 0.0).max(axis=1)
    return np.where(windows.is_valid, largest, 0.0)


def cvm(windows: Split) -> Floats:
    """The two-sample Cramér-von Mises statistic T of each feature, with midranks for ties.

    T. W. Anderson, On the distribution of the two-sample Cramér-von Mises criterion, Annals of Mathematical
    Statistics 33 (1962), equations 9 and 10. It grows with the windows.
    """
    pooled = windows.pooled
    places = np.arange(1, pooled.values.shape[1] + 1)
    is_first = np.ones(pooled.is_last.shape, bool)
    is_first[:, 1:] = pooled.is_last[:, :-1]
    lowest = np.maximum.accumulate(np.where(is_first, places, 0), axis=1)
    highest = np.minimum.accumulate(np.where(pooled.is_last, places, places[-1])[:, ::-1], axis=1)[:, ::-1]
    ranks = (lowest + highest) / 2
    in_y = pooled.is_finite & ~windows.in_x
    excess_x = ((ranks - windows.counts_x) ** 2).sum(axis=1, where=windows.in_x)
    excess_y = ((ranks - windows.counts_y) ** 2).sum(axis=1, where=in_y)
    n, m = _total(windows.counts_x)[:, 0], _total(windows.counts_y)[:, 0]
    u = n * excess_x + m * excess_y
    t = u / (n * m * (n + m)) - (4 * n * m - 1) / (6 * (n + m))
    return np.where(windows.is_valid, t, 0.0)


def wasserstein(windows: Split) -> Floats:
    """The Wasserstein distance W1 of each feature in standard deviations of the reference, or in 0.001 if that is more.

    W1 is the area between the two distribution functions; the deviation is that of a population (divided by n).
    """
    pooled = windows.pooled
    area = (np.abs(windows.gaps[:, :-1]) * np.diff(pooled.values, axis=1)).sum(axis=1)
    n = _total(windows.counts_x)
    means = pooled.values.sum(axis=1, keepdims=True, where=windows.in_x) / n
    variances = ((pooled.values - means) ** 2).sum(axis=1, where=windows.in_x) / n[:, 0]
    smallest = np.ldexp(_SMALLEST_STD, -pooled.exponents)
    return np.where(windows.is_valid, area / np.maximum(np.sqrt(variances), smallest), 0.0)


def energy(windows: Split) -> Floats:
    """The energy distance of each feature, √(2 ∫ (F − G)²): the root, as in scipy, in roots of the feature's unit.

    G. Székely, M. Rizzo, Energy statistics: a class of statistics based on distances, Journal of Statistical
    Planning and Inference 143 (2013).
    """
    pooled = windows.pooled
    area = (windows.gaps[:, :-1] ** 2 * np.diff(pooled.values, axis=1)).sum(axis=1)
    return np.where(windows.is_valid, np.sqrt(2 * area) * np.exp2(pooled.exponents / 2), 0.0)


def _total(counts: Floats) -> Floats:
    """How many values a window has in each feature, as a column; 1 for none, where the answer is not used."""
    return np.maximum(counts[:, -1:], 1.0)
