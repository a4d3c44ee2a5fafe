"""A fitted number, with the interval in which the truth lies with a probability of 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 399
_SEED = 20
"""Of the bootstrap: the same runs give the same intervals."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was fitted."""

    key: str
    """Where it stands in the section `sim`; of a figure that is only reported, what it is."""
    value: float
    low: float | None
    high: float | None
    """The 95 % interval; None if there are too few observations for one."""
    unit: str
    num_observations: int
    """That it was fitted to."""
    num_left_out: int = 0
    """Observed as well, but the first of their kind on a device, at which things warm up."""
    spread: float | None = None
    """Of a mean or median: standard deviation over it. Of a fit: median of |fitted / observed − 1|. Of accuracy: R²."""


def interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], num_observations: int, num_numbers: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the intervals of the numbers that `statistic` makes of the observations at some positions.

    By the bootstrap over observations. Its percentiles are expanded, as they would be too narrow for few of them:
    Hesterberg, What teachers should know about the bootstrap, The American Statistician 69(4), 2015, section 5.
    """
    from scipy.stats import bootstrap

    def of_all(drawn: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        rows = drawn.reshape(-1, drawn.shape[-1])
        made = np.stack([statistic(row) for row in rows], axis=-1)
        return made.reshape(*made.shape[:-1], *drawn.shape[:-1])

    found = bootstrap(
        (np.arange(num_observations),),
        of_all,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=expanded_level(num_observations, num_numbers),
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def expanded_level(num_observations: int, num_numbers: int) -> float:
    """The level of a percentile interval that covers as much as a t interval of level `LEVEL` does."""
    from scipy.stats import norm, t

    freedom = max(1, num_observations - num_numbers)
    quantile = math.sqrt(num_observations / freedom) * float(t.ppf(0.5 + LEVEL / 2, freedom))
    return min(0.999, 1.0 - 2.0 * float(norm.cdf(-quantile)))
