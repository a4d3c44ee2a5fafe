"""Small forecasts that policies make: a ridge regression on one variable, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FEW = 5
"""Fewer values than these are forecast by their mean."""


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the line of least squares through the points (x, y).

    ValueError unless two x differ.
    """
    covariance, spread, mean_x, mean_y = _sums(x, y)
    if spread == 0.0:
        raise ValueError(f"expected points that differ in x, got {len(x)} at {mean_x:g}")
    slope = covariance / spread
    return slope, mean_y - slope * mean_x


def ridge(x: Sequence[float], y: Sequence[float], at: float, *, alpha: float) -> float:
    """The value at `at` of the line through the points (x, y), its slope shrunk by `alpha`, its intercept free.

    slope = Σ (x − x̄)(y − ȳ) / (Σ (x − x̄)² + alpha). ValueError without points.
    """
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"expected as many x as y and at least one, got {len(x)} and {len(y)}")
    covariance, spread, mean_x, mean_y = _sums(x, y)
    return mean_y + covariance / (spread + alpha) * (at - mean_x)


def _sums(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float, float]:
    """Σ (x − x̄)(y − ȳ), Σ (x − x̄)², x̄ and ȳ."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = float(xs.mean()), float(ys.mean())
    return float(((xs - mean_x) * (ys - mean_y)).sum()), float(((xs - mean_x) ** 2).sum()), mean_x, mean_y


def next_value(values: Sequence[float]) -> float:
    """What comes after these values: their mean if there are fewer than 5, else a ridge (0.5) on their index."""
    if len(values) < _FEW:
        return float(np.mean(values))
    return ridge(range(len(values)), values, len(values), alpha=0.5)


def next_share(values: Sequence[float]) -> float:
    """`next_value`, kept within [0, 1]."""
    return min(1.0, max(0.0, next_value(values)))
