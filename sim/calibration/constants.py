"""Costs that are the same each time: a mean, so that all times together are what they were.

Deciding takes a short time mostly and a long one now and then (where a trigger fires, or the disk is slow to commit),
which a median would lose. Only what has nothing to do with the stage is bounded: what takes longer than `_FENCE` times
all but a tenth (a machine that was put to sleep) is taken to have taken that long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.calibration.figures import Figure, interval

Floats = NDArray[np.float64]
_FENCE = 20.0
_MANY = 0.9
_LEAST_FOR_INTERVAL = 3


def mean_s(seconds: Floats) -> float:
    """The mean with hiccups bounded."""
    return float(np.minimum(seconds, _FENCE * np.quantile(seconds, _MANY)).mean())


def mean_figure(key: str, seconds: Floats, unit: str = "s") -> Figure:
    """The mean as a figure, without an interval where there are too few observations for one."""
    value, low, high = mean_s(seconds), None, None
    if len(seconds) >= _LEAST_FOR_INTERVAL:
        # one fence for all draws: a draw without most of the long ones would take them for hiccups
        bounded = np.minimum(seconds, _FENCE * np.quantile(seconds, _MANY))
        ends = interval(lambda drawn: bounded[drawn].mean(), len(seconds))
        low, high = (float(end) for end in ends)
    return Figure(key, value, low, high, unit, len(seconds), spread=_spread(seconds, value))


def median_figure(key: str, seconds: Floats, unit: str = "s") -> Figure:
    """The median, for what happens once a run: there is no sum to keep, and of a few runs one began on a cold disk."""
    value, low, high = float(np.median(seconds)), None, None
    if len(seconds) >= _LEAST_FOR_INTERVAL:
        low, high = (float(end) for end in interval(lambda drawn: np.asarray(np.median(seconds[drawn])), len(seconds)))
    return Figure(key, value, low, high, unit, len(seconds), spread=_spread(seconds, value))


def _spread(seconds: Floats, value: float) -> float | None:
    return float(seconds.std(ddof=1) / value) if len(seconds) > 1 and value > 0 else None


def line_s(sizes: Floats, seconds: Floats) -> tuple[float, float | None]:
    """Setup, and seconds for each unit of size; None where the sizes do not tell it from the setup."""
    from sim.throughput.robust import is_told, relative_fit

    columns = np.stack([np.ones_like(sizes), sizes], axis=1)
    if len(np.unique(sizes)) < 3 or (seconds <= 0).any():
        return mean_s(seconds), None
    found = relative_fit(columns, seconds)
    if found[1] <= 0 or not is_told(columns, seconds, found, 1):
        return mean_s(seconds), None
    level = mean_s(seconds) / mean_s(columns @ found)
    return float(found[0] * level), float(found[1] * level)
