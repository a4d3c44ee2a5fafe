"""A rate of arrivals that follows the hours of the day and the days of the week, by rescaling time.

The base process runs in *operational* time, in which its rate is always the same. Operational time passes
fast in busy hours and slowly in quiet ones; over a whole week as much of it passes as of data time, so
means stay what they are. A sample at operational time u comes at the data time t at which so much has passed,
Λ(t) = u: the usual way to draw an inhomogeneous process (Çinlar 1975; for renewal processes Gerhardt and
Nelson, 2009). The rate is constant within an hour, so Λ and its inverse are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinclock.arrivals import DailyConfig, WeeklyConfig

_HOUR_S = 3600.0
_NUM_HOURS = 7 * 24
_WEEK_S = _NUM_HOURS * _HOUR_S
_WEEKEND = (2, 3)
"""Days from 1970-01-01, data time 0, which was a Thursday."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How fast operational time passes in each hour of a week that begins on a Thursday, at 00:00 UTC."""

    rates: NDArray[np.float64]
    """Shape (168,); their mean is 1."""
    passed_s: NDArray[np.float64]
    """Operational seconds from the week's start to each hour's, and to its end; shape (169,)."""

    def operational(self, ts: float) -> float:
        """Operational time at a data time."""
        week = math.floor(ts / _WEEK_S)
        rest_s = ts - week * _WEEK_S
        hour = min(max(int(rest_s // _HOUR_S), 0), _NUM_HOURS - 1)
        return week * _WEEK_S + float(self.passed_s[hour] + (rest_s - hour * _HOUR_S) * self.rates[hour])

    def data_time(self, operational: NDArray[np.float64]) -> NDArray[np.float64]:
        """Data times of operational ones; never decreasing where they are not, to the last bit."""
        rest_s = np.mod(operational, _WEEK_S)
        weeks_s = np.rint((operational - rest_s) / _WEEK_S) * _WEEK_S
        hour = np.minimum(np.searchsorted(self.passed_s, rest_s, side="right") - 1, _NUM_HOURS - 1)
        into_s = (rest_s - self.passed_s[hour]) / self.rates[hour]
        # an hour that ends late by a rounding error would overtake the one behind it
        return weeks_s + np.minimum(hour * _HOUR_S + into_s, (hour + 1) * _HOUR_S)


def make_rhythm(daily: DailyConfig | None, weekly: WeeklyConfig | None) -> Rhythm:
    """The rate is that of the hour times that of the day, over their mean in a week."""
    day = np.ones(24) if daily is None else _cosine(daily)
    share = 1.0 if weekly is None else weekly.weekend_share
    rates = np.concatenate([day * (share if number in _WEEKEND else 1.0) for number in range(7)])
    rates /= rates.mean()
    passed_s = np.concatenate([[0.0], np.cumsum(rates * _HOUR_S)])
    passed_s[-1] = _WEEK_S
    return Rhythm(rates, passed_s)


def _cosine(daily: DailyConfig) -> NDArray[np.float64]:
    """1 + a · cos(2π (hour − peak) / 24), where (1 + a) / (1 − a) is the busiest hour over the quietest."""
    swing = (daily.max_over_min - 1) / (daily.max_over_min + 1)
    return 1.0 + swing * np.cos(2 * np.pi * (np.arange(24) - daily.peak_hour) / 24)
