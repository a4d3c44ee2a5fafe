"""Bootstrap confidence intervals that also hold for the few seeds that a study has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.statistics.observations import Floats, generator

NUM_RESAMPLES = 9_999
CHUNK = 64
"""Samples that are resampled together; more would take memory, and change nothing."""
_BATCH = 500
"""Resamples that are held at once. A constant, for the numbers drawn depend on it."""
_WIDEST = 1.0 - 1e-9


def mean_intervals(
    samples: Floats, key: tuple[str, ...], confidence: float, num_resamples: int = NUM_RESAMPLES
) -> tuple[Floats, Floats]:
    """Lower and upper ends of the confidence interval of each row's mean; a row is a sample of at least two values.

    The percentile interval of the bootstrap, expanded for small samples (Hesterberg 2015, "What Teachers Should Know
    About the Bootstrap", The American Statistician 69:371–386): the percentile interval is too narrow by about
    √((n−1)/n)·z/t, so the percentiles are taken at Φ(∓√(n/(n−1))·t) in the place of α/2. BCa, which mends a skew, is as
    narrow. No interval is wider than the range of the values. All rows see the same resamples, so the interval of −x is
    that of x, mirrored. A row of equal values has a width of 0.
    """
    return _intervals((samples,), lambda x, axis: x.mean(axis=axis), key, confidence, num_resamples)


def ratio_intervals(
    upper: Floats, lower: Floats, key: tuple[str, ...], confidence: float, num_resamples: int = NUM_RESAMPLES
) -> tuple[Floats, Floats]:
    """The same for mean(upper) / mean(lower) of each row, whose columns are resampled together."""
    return _intervals(
        (upper, lower), lambda x, y, axis: x.mean(axis=axis) / y.mean(axis=axis), key, confidence, num_resamples
    )


def expanded(confidence: float, num_values: int) -> float:
    """The share between the two percentiles that are taken for a confidence, from so many values."""
    from scipy import stats

    t = stats.t.ppf((1.0 + confidence) / 2.0, num_values - 1)
    tail = stats.norm.cdf(-math.sqrt(num_values / (num_values - 1)) * t)
    return min(_WIDEST, float(1.0 - 2.0 * tail))


def _intervals(
    data: tuple[Floats, ...], statistic: Callable[..., Any], key: tuple[str, ...], confidence: float, num_resamples: int
) -> tuple[Floats, Floats]:
    from scipy import stats

    num_rows, num_values = data[0].shape
    low, high = np.empty(num_rows), np.empty(num_rows)
    for start in range(0, num_rows, CHUNK):
        rows = slice(start, start + CHUNK)
        found = stats.bootstrap(
            tuple(each[rows] for each in data),
            statistic,
            paired=True,
            axis=-1,
            vectorized=True,
            n_resamples=num_resamples,
            batch=_BATCH,
            confidence_level=expanded(confidence, num_values),
            method="percentile",
            random_state=generator("bootstrap", *key, str(num_values)),
        ).confidence_interval
        low[rows], high[rows] = found.low, found.high
    constant = np.all([np.ptp(each, axis=1) == 0.0 for each in data], axis=0)
    value = statistic(*(each[:, :1] for each in data), axis=-1)
    return np.where(constant, value, low), np.where(constant, value, high)
