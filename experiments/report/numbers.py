"""Numbers for people: as many digits as say something, and alike within a column."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from twinclock._data_time import is_date

NOTHING = "-"
_DIGITS = 4
"""Significant digits of the largest number of a column."""
_MOST_DECIMALS = 6


def decimals_for(values: Iterable[float | None]) -> int:
    """Decimals with which all of these can stand in one column."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest == 0.0:
        return 0
    return min(_MOST_DECIMALS, max(0, _DIGITS - 1 - math.floor(math.log10(largest))))


def number(value: float | None, decimals: int) -> str:
    """`1,234.5`; a dash for nothing, and `nan` or `inf` for what is no number."""
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def interval(low: float | None, high: float | None, decimals: int) -> str:
    """`[0.71, 0.73]`; empty if there is none, or if it has no width."""
    if low is None or high is None or low == high:
        return ""
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def share(value: float | None) -> str:
    """In percent."""
    return NOTHING if value is None else f"{100.0 * value:.3g}\N{NO-BREAK SPACE}%"


def data_time(value: float) -> str:
    """Data time as a date where it can be one, else in seconds."""
    if not is_date(value):
        return f"{value:,.6g}"
    return datetime.fromtimestamp(value, UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")


def date(text: object) -> str:
    """A date of a header, for people."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text)


def day(seconds: float) -> str:
    """The time of a file."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
