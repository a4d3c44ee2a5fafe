"""The two windows of samples that a drift trigger compares: a reference, and the current samples.

Both are kept as ranges of positions. Without overlap a sample enters `current`, leaves it into a reservoir, and a
fire moves everything into the reference, which is then cut to its limit; so the reference always ends where the last
fire was, and current and reservoir begin there. With overlap the current window keeps its content at a fire.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from twinclock.durations import Duration
from twinclock.section import Section
from twinclock.stream import Stream


class AmountWindowsConfig(Section):
    """Windows of a number of samples.

    Without overlap: a sample enters the current window, and what is more than `cur` leaves it, the oldest first, into
    a reservoir. At a trigger the reference becomes reference + reservoir + current, of which the newest `ref` are
    kept, and reservoir and current window begin empty. With overlap: at a trigger the reference becomes reference +
    all samples since the last trigger, cut in the same way, and the current window keeps its content. No sample is
    twice in a window.
    """

    source: ClassVar[str] = ""

    kind: Literal["amount"] = "amount"
    ref: int = Field(gt=1)
    """Limit of the reference window. [samples]"""
    cur: int = Field(gt=1)
    """Limit of the current window. [samples]"""
    overlap: bool = False
    """May the current window hold samples of the reference?"""


class TimeWindowsConfig(Section):
    """Windows of a duration of data time, counted back from the last sample in them.

    As windows of a number of samples, but a window keeps the samples with ts ≥ ts of its own last sample − its limit.
    """

    source: ClassVar[str] = ""

    kind: Literal["time"] = "time"
    ref: Duration
    """Limit of the reference window. [s of data time]"""
    cur: Duration
    """Limit of the current window. [s of data time]"""
    overlap: bool = False
    """May the current window hold samples of the reference?"""


WindowsConfig: TypeAlias = Annotated[AmountWindowsConfig | TimeWindowsConfig, Field(discriminator="kind")]
Window: TypeAlias = tuple[int, int]
"""Positions [first, stop)."""


def current_window(config: WindowsConfig, stream: Stream, last_fire: int, stop: int) -> Window:
    """The current window when the samples before `stop` were read; `last_fire` is -1 if there was none."""
    return _trimmed(config, config.cur, stream, 0 if config.overlap else last_fire + 1, stop)


def reference_window(config: WindowsConfig, stream: Stream, begin: int, last_fire: int) -> Window:
    """The reference window after the last fire, if samples went into it from position `begin` on."""
    return _trimmed(config, config.ref, stream, begin, last_fire + 1)


def _trimmed(config: WindowsConfig, limit: float, stream: Stream, first: int, stop: int) -> Window:
    """The newest of the positions [first, stop): cutting at each fire comes to the same as cutting at the last."""
    if first >= stop:
        return stop, stop
    if isinstance(config, AmountWindowsConfig):
        return max(first, stop - int(limit)), stop
    earliest = stream.timestamp(stop - 1) - limit
    return stream.first_at_or_after(earliest, first, stop), stop
