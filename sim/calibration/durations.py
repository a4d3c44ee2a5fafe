"""Seconds as a sum of numbers for what there is to do (a setup, each step, each sample), fitted with their noise.

The simulator's noise is log-normal around the fit, with median 1, so on average a job takes exp(σ²/2) times what the
formula says. The shape is that of a robust fit; its level is then set so that all jobs together take as long as they
did. What lies further out than `_FENCE` robust deviations counts in that sum as if it lay there, and is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.calibration.figures import interval
from sim.throughput.robust import TO_SIGMA, is_told, relative_fit

Floats = NDArray[np.float64]
_FENCE = 4.0
_LEAST_SIGMA = 0.01
"""Robust deviation, as a share, below which nothing is said to lie far out."""
_PRECISION = 1e-4
"""Of the weights of a fit: far below what noise makes of its numbers."""
_CUT, _CUT_SHARE = 2.5, 0.9776
"""Robust deviations at which residuals are cut, and what that leaves of the variance of normal ones."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Numbers that fit seconds; a number that could not be told from the others is 0, and not in `told`."""

    numbers: Floats
    low: Floats
    high: Floats
    told: tuple[int, ...]
    """Columns that were fitted."""
    fitted_s: Floats
    """Median seconds of each job by the fit."""
    sigma: float
    """Of the log-normal noise."""
    residuals: Floats
    """seconds / fitted_s − 1."""
    is_outlier: NDArray[np.bool_]

    @property
    def mean_factor(self) -> float:
        """How much longer than its median a job takes on average."""
        return float(np.exp(self.sigma**2 / 2))


def fit_seconds(columns: Floats, seconds: Floats, optional: Sequence[int]) -> Fit:
    """Numbers ≥ 0, one a column. Those of `optional` columns are 0 where the jobs do not tell them from the others.

    The first of `optional` that can't be told is left out, then the others are tried again without it.
    """
    told = list(range(columns.shape[1]))
    for column in optional:
        found = relative_fit(columns[:, told], seconds)
        at = told.index(column)
        enough = len(np.unique(columns[:, told], axis=0)) > len(told)
        if not enough or found[at] <= 0.0 or not is_told(columns[:, told], seconds, found, at):
            told.remove(column)
    numbers, sigma = _levelled(columns[:, told], seconds)
    low, high = interval(lambda drawn: _levelled(columns[drawn][:, told], seconds[drawn])[0], len(seconds), len(told))
    whole = np.zeros((3, columns.shape[1]))
    whole[:, told] = numbers, low, high
    fitted_s = columns @ whole[0]
    ratios = seconds / fitted_s
    is_far = np.abs(np.log(ratios)) > _FENCE * max(sigma, _LEAST_SIGMA)
    return Fit(whole[0], whole[1], whole[2], tuple(told), fitted_s, sigma, ratios - 1, is_far)


def relevelled(fit: Fit, sigma: float) -> Fit:
    """The same fit where the simulator's noise is `sigma`, which is one number for several kinds of jobs."""
    factor = fit.mean_factor / float(np.exp(sigma**2 / 2))
    return replace(
        fit,
        numbers=fit.numbers * factor,
        low=fit.low * factor,
        high=fit.high * factor,
        fitted_s=fit.fitted_s * factor,
        residuals=(fit.residuals + 1) / factor - 1,
        sigma=sigma,
    )


def _levelled(columns: Floats, seconds: Floats) -> tuple[Floats, float]:
    numbers = relative_fit(columns, seconds, precision=_PRECISION)
    fitted = columns @ numbers
    ratios = seconds / fitted
    middle = float(np.median(ratios))
    sigma = robust_sigma(np.log(ratios), columns.shape[1])
    fence = np.exp(_FENCE * max(sigma, _LEAST_SIGMA))
    level = float((np.clip(ratios, middle / fence, middle * fence) * fitted).sum() / fitted.sum())
    return numbers * level / np.exp(sigma**2 / 2), sigma


def robust_sigma(residuals: Floats, num_numbers: int) -> float:
    """Standard deviation around the median, of a fit of so many numbers, where what lies far out is bounded.

    From the mean square of residuals cut at 2.5 robust deviations, which wastes less than the median deviation.
    """
    apart = np.abs(residuals - np.median(residuals))
    reach = _CUT * TO_SIGMA * float(np.median(apart))
    freedom = max(1, len(residuals) - num_numbers)
    return float(np.sqrt((np.minimum(apart, reach) ** 2).sum() / (_CUT_SHARE * freedom)))
