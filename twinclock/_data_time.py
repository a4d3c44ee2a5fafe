"""An axis of data time: a calendar where it can be one, else seconds, hours or days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinclock._chart import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CALENDAR = (1e8, 2.5e11)
"""Data time between these is taken for seconds since 1970, up to the year 9892."""
_DAY_S = 86_400.0


def data_time_axis(axes: Axes, first: float, last: float) -> float:
    """Make the x axis one of data time from `first` to `last`, and name it; the seconds of its unit."""
    if is_date(first) and is_date(last):
        unit_s, unit = _DAY_S, "UTC"
        _calendar(axes)
    else:
        unit_s, unit = time_unit(last - first)
    axes.set_xlim(first / unit_s, last / unit_s)
    axes.set_xlabel(f"data time ({unit})")
    return unit_s


def is_date(data_ts: float) -> bool:
    """Can data time be taken for seconds since 1970?"""
    return _CALENDAR[0] < data_ts < _CALENDAR[1]


def _calendar(axes: Axes) -> None:
    """Days since 1970 shown as dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    # matplotlib has types, but not for these two
    locator = AutoDateLocator(minticks=6, maxticks=16)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
