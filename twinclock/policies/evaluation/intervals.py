"""Which intervals of data time an evaluation plan asks for.

A plan's intervals are arrays, so that many thousands cost little. Those that do not depend on where the
stream ends are known as it goes on; the others (a last slice, all that follows) when it has ended. A
timestamp stands for the second that it begins: data that end with one at `ts` reach to ts + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.evaluation.in_use import Model, in_order
from twinclock.policies.evaluation.plans import (
    BetweenTriggersPlan,
    EvaluationPlan,
    OffsetPlan,
    PeriodicPlan,
    SlicingPlan,
    StaticPlan,
)
from twinclock.stream import Stream

Interval: TypeAlias = dict[str, Json]
"""`start` and `end` in data time, and the positions [`first`, `stop`) to score."""
_NOBODY = -1


class Span(NamedTuple):
    """The data times of the first and the last sample of a stream, or of as much of it as is known."""

    first_ts: float
    last_ts: float

    @property
    def end(self) -> float:
        """Where the data end, half-open."""
        return self.last_ts + 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Some intervals: arrays of shape (intervals,)."""

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    keys: NDArray[np.float64]
    """The data time that says which model is active on each."""
    owners: NDArray[np.int64]
    """The trigger of the one model that each is asked of; -1 where it is not asked of one in particular."""

    def only(self, mask: NDArray[np.bool_]) -> Bounds:
        """Those for which `mask` is true."""
        return Bounds(self.starts[mask], self.ends[mask], self.keys[mask], self.owners[mask])

    def pairs(self) -> Iterator[tuple[float, float]]:
        """(start, end) of each."""
        return zip(self.starts.tolist(), self.ends.tolist(), strict=True)


def intervals(plan: EvaluationPlan, stream: Stream, informed_stop: int, models: Iterable[Model]) -> list[Interval]:
    """The plan's intervals over the samples [0, informed_stop), after which the stream is taken to end.

    Each with the positions [first, stop) that lie in it. Empty ones are listed too: that there was
    nothing to score is a result.
    """
    return located(all_bounds(plan, span_of(stream, informed_stop), models), stream, informed_stop)


def located(bounds: Bounds, stream: Stream, stop: int) -> list[Interval]:
    """Intervals with the positions, below `stop`, that lie in each."""
    found = []
    for start, end in bounds.pairs():
        first = stream.first_at_or_after(start, 0, stop)
        found.append({"start": start, "end": end, "first": first, "stop": stream.first_at_or_after(end, first, stop)})
    return found


def span_of(stream: Stream, stop: int) -> Span | None:
    """The data times of the samples [0, stop); None if there are none."""
    return Span(stream.timestamp(0), stream.timestamp(stop - 1)) if stop else None


def all_bounds(plan: EvaluationPlan, span: Span | None, models: Iterable[Model]) -> Bounds:
    """All intervals of a stream with these data times; none where there are no samples."""
    if span is None:
        return NO_BOUNDS
    ordered = in_order(models)
    found = fixed_bounds(plan, span, ordered)
    if isinstance(plan, SlicingPlan):
        return _plain(found.starts, np.minimum(found.ends, span.end))
    if isinstance(plan, BetweenTriggersPlan) and len(found.ends) and found.ends[-1] < span.end:
        return _plain(np.append(found.starts, found.ends[-1]), np.append(found.ends, span.end))
    if isinstance(plan, OffsetPlan):
        return _relative(plan, ordered, span.first_ts, span.end)
    return found


def fixed_bounds(plan: EvaluationPlan, span: Span, ordered: Sequence[Model]) -> Bounds:
    """The intervals that stay as they are however the stream goes on after `span`.

    `ordered` are the models by trigger. Some of the intervals may end after the span.
    """
    match plan:
        case SlicingPlan():
            return _slices(plan, span)
        case PeriodicPlan():
            return _around_centres(plan, span)
        case BetweenTriggersPlan():
            return _pairwise(dict.fromkeys((model["first_ts"], model["last_ts"] + 1.0) for model in ordered))
        case OffsetPlan():
            return _relative(plan, ordered, span.first_ts, -math.inf)  # where `inf` ends is not known yet
        case StaticPlan():
            return _pairwise(sorted(plan.intervals))


def reached_bounds(
    plan: EvaluationPlan, trigger: Mapping[str, Json], ordered: Sequence[Model], stream: Stream
) -> tuple[Bounds, NDArray[np.bool_]]:
    """The intervals that the data up to a trigger reach the end of; and which of them no earlier trigger's did.

    `ordered` are the models by trigger, none newer than this one.
    """
    span = Span(stream.timestamp(0), trigger["last_ts"])
    found = fixed_bounds(plan, span, ordered)
    found = found.only(found.ends <= trigger["reach"])
    previous = trigger["previous_reach"]
    return found, found.ends > (-math.inf if previous is None else previous)


def _slices(plan: SlicingPlan, span: Span) -> Bounds:
    """The slices that begin before the data end; none goes beyond the plan's own end."""
    origin = span.first_ts if plan.from_ is None else plan.from_
    plan_end = math.inf if plan.to is None else plan.to
    num_slices = max(0, math.ceil((min(span.end, plan_end) - origin) / plan.every))
    edges = np.asarray(origin + plan.every * np.arange(num_slices + 1), np.float64)
    return _plain(edges[:-1], np.minimum(edges[1:], plan_end))


def _around_centres(plan: PeriodicPlan, span: Span) -> Bounds:
    """The intervals that begin before the data end."""
    origin = span.first_ts if plan.from_ is None else plan.from_
    last = min(span.last_ts if plan.to is None else plan.to, span.end + plan.half)
    # a centre that misses `to` by rounding counts
    num_centres = max(0, math.floor((last - origin) / plan.every + 1e-9) + 1)
    centres = np.asarray(origin + plan.every * np.arange(num_centres), np.float64)
    starts, ends = np.maximum(0.0, centres - plan.half), centres + plan.half
    found = Bounds(starts, ends, centres, np.full(num_centres, _NOBODY))
    return found.only((starts < ends) & (starts < span.end))


def _relative(plan: OffsetPlan, ordered: Sequence[Model], data_start: float, data_end: float) -> Bounds:
    """The intervals before, at and after each model's own data, each once; those without extent are left out."""
    rows: dict[tuple[float, float, int], None] = {}
    for model in ordered:
        first, after = model["first_ts"], model["last_ts"] + 1.0
        for offset in map(float, plan.offsets):
            if offset == 0.0:
                start, end = first, after
            elif offset < 0.0:
                start, end = data_start if math.isinf(offset) else first + offset, first
            else:
                start, end = after, data_end if math.isinf(offset) else after + offset
            if start < end:
                rows[start, end, model["trigger"]] = None
    starts, ends, owners = np.array(list(rows), np.float64).reshape(-1, 3).T
    return Bounds(starts, ends, starts, owners.astype(np.int64))


def _plain(starts: Iterable[float] | NDArray[np.float64], ends: Iterable[float] | NDArray[np.float64]) -> Bounds:
    """Intervals with their starts as keys, asked of no model in particular."""
    first, last = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
    return Bounds(first, last, first, np.full(len(first), _NOBODY))


def _pairwise(pairs: Iterable[tuple[float, float]]) -> Bounds:
    both = np.array(list(pairs), np.float64).reshape(-1, 2)
    return _plain(both[:, 0], both[:, 1])


NO_BOUNDS = _plain([], [])
