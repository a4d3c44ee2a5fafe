"""Durations as a user writes them: a number of seconds, or a whole number with a unit such as `90d`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, TypeAlias

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


def parse_offset(value: object) -> float | str:
    """Seconds of either sign, or the text `inf` or `-inf`, which JSON can hold. ValueError if it is none of these."""
    sign, size = 1.0, value
    if isinstance(value, str) and value[:1] in ("-", "+"):
        sign, size = (-1.0 if value[0] == "-" else 1.0), value[1:]
    try:
        seconds = sign * (math.inf if size == "inf" else parse_duration(size))
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise ValueError("expected a number of seconds, a duration with a sign such as -30d, inf or -inf")
    return seconds + 0.0 if math.isfinite(seconds) else str(seconds)


Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""Seconds, more than none."""
Delay: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds, possibly none."""
Offset: TypeAlias = Annotated[float | Literal["-inf", "inf"], BeforeValidator(parse_offset)]
"""Seconds back (negative) or ahead; all that there is, in either direction, as text."""
