"""The evaluation plans as a user writes them: one config model for each kind.

The intervals of data time that each asks for are computed in `intervals`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from twinclock.durations import Duration, Offset
from twinclock.section import ListOf, Section, WrongKeyError

When: TypeAlias = Literal["after_training", "after_pipeline"]
"""As soon as a model and all samples of an interval are there, or all at the end."""
Models: TypeAlias = Literal["active", "trained", "served", "all"]
"""Who is scored on an interval: the newest model whose training data lie before the interval's key (active), the next
newer one (trained), each sample by the one that served it (served), or every model (all)."""


def _data_times(value: object) -> object:
    """Two data times in order. ValueError if it is anything else."""
    if isinstance(value, list | tuple) and len(value) == 2:
        numbers = [each for each in value if isinstance(each, int | float) and not isinstance(each, bool)]
        with suppress(OverflowError):  # whole numbers that no float can hold
            if len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]:
                return float(numbers[0]), float(numbers[1])
    raise ValueError("expected [start, end], two finite numbers, start < end")


DataTimes: TypeAlias = Annotated[tuple[float, float], BeforeValidator(_data_times)]
"""[start, end): half-open, in seconds of data time."""


class SlicingPlan(Section):
    """Intervals of equal length, one after another.

    Interval i is [from + i·every, from + (i+1)·every); the last one ends at `to`, and with the data at
    the latest, so it may be shorter. An interval's key, which says what model is active on it, is its start.
    """

    source: ClassVar[str] = ""
    kind: Literal["slicing"] = "slicing"
    every: Duration
    """Length of a slice. [s of data time]"""
    from_: float | None = Field(default=None, alias="from")
    """Where the first slice begins; None: at the first sample. [s of data time]"""
    to: float | None = None
    """Where the last slice ends; None: with the last sample. [s of data time]"""
    models: Models = "active"
    when: When = "after_training"

    @model_validator(mode="after")
    def _ordered(self) -> SlicingPlan:
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise WrongKeyError("to", f"got {self.to:g}, expected more than from, which is {self.from_:g}")
        return self


class PeriodicPlan(Section):
    """Intervals around centres at equal distances; they may overlap.

    The centres are c = from, from + every, … ≤ to, each with the interval [max(0, c − half), c + half).
    An interval's key is its centre. What begins after the last sample, or ends before data time 0, is left out.
    """

    source: ClassVar[str] = ""
    kind: Literal["periodic"] = "periodic"
    every: Duration
    """From a centre to the next. [s of data time]"""
    from_: float | None = Field(default=None, alias="from")
    """The first centre; None: at the first sample. [s of data time]"""
    to: float | None = None
    """No centre lies beyond; None: none beyond the last sample. [s of data time]"""
    half: Duration
    """From a centre to either end of its interval. [s of data time]"""
    models: Models = "active"
    when: When = "after_training"

    @model_validator(mode="after")
    def _ordered(self) -> PeriodicPlan:
        if self.from_ is not None and self.to is not None and self.to < self.from_:
            raise WrongKeyError("to", f"got {self.to:g}, expected at least from, which is {self.from_:g}")
        return self


class BetweenTriggersPlan(Section):
    """The samples of each training's trigger, and what came after the last of them.

    [first ts, last ts + 1) of each trigger that gave a model, known when it has trained; so the model
    active on it, the one before, is scored when its successor is there. After the pipeline
    [last ts of the newest + 1, last ts of the stream + 1) is added. An interval's key is its start.
    """

    source: ClassVar[str] = ""
    kind: Literal["between_triggers"] = "between_triggers"
    models: Models = "active"
    when: When = "after_training"


class OffsetPlan(Section):
    """Intervals before, at and after each model's own training data, scored by that model alone.

    With [first, last] the data times of the samples of a model's trigger: −d is [first − d, first), 0 is
    [first, last + 1), d is [last + 1, last + 1 + d); −inf reaches back to the first sample of the stream,
    inf on to its last, and is evaluated after the pipeline. Those without extent are left out.
    """

    source: ClassVar[str] = ""
    kind: Literal["offset"] = "offset"
    offsets: ListOf[Offset] = Field(min_length=1)
    """How far before (-) or after each model's own data; `-inf` and `inf`: all that there is. [s of data time]"""
    models: Literal["own"] = "own"
    """The model whose training data the interval is relative to."""
    when: When = "after_training"

    @model_validator(mode="after")
    def _each_once(self) -> OffsetPlan:
        for earlier, later in pairwise(sorted(self.offsets, key=float)):
            if earlier == later:
                raise WrongKeyError("offsets", f"got {later} twice, expected each offset once")
        return self


class StaticPlan(Section):
    """Intervals that are listed one by one; they may not overlap.

    Each [start, end) as written, also where the stream has no samples. An interval's key is its start.
    """

    source: ClassVar[str] = ""
    kind: Literal["static"] = "static"
    intervals: ListOf[DataTimes] = Field(min_length=1)
    """Start and end of each, in any order. [s of data time]"""
    models: Models = "active"
    when: When = "after_training"

    @model_validator(mode="after")
    def _apart(self) -> StaticPlan:
        for earlier, later in pairwise(sorted(self.intervals)):
            if later[0] < earlier[1]:
                both = f"[{earlier[0]:g}, {earlier[1]:g}] and [{later[0]:g}, {later[1]:g}]"
                raise WrongKeyError("intervals", f"got {both}, expected intervals that do not overlap")
        return self


EvaluationPlan: TypeAlias = Annotated[
    SlicingPlan | PeriodicPlan | BetweenTriggersPlan | OffsetPlan | StaticPlan, Field(discriminator="kind")
]
