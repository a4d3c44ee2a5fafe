"""Durations as a user writes them: a number of seconds, or a whole number with a unit such as `90d`."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
"""A year is 365 days, always."""

_PATTERN = re.compile(r"([0-9]+)(" + "|".join(SECONDS_PER_UNIT) + ")")


def parse_duration(value: object) -> float:
    """Seconds. ValueError unless `value` is a number or `<int>` followed by one of s, m, h, d, w, y."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            return float(int(match[1]) * SECONDS_PER_UNIT[match[2]])
    except OverflowError:
        pass
    raise ValueError("expected a number of seconds or <int>s|m|h|d|w|y, such as 90d")


Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""Seconds, more than none."""
Delay: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds, possibly none."""
