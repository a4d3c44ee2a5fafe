"""Evaluation plans: the intervals of data time that they ask for, and which model is in use on each.

All intervals are half-open, [start, end). The *active* model of an interval is the newest one whose
training data all lie before its start; *trained* is the one after it, the first to know some of
the interval. Both take training as instantaneous, as published work does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from twinclock.durations import Duration
from twinclock.graph import Json
from twinclock.section import Section, WrongKeyError
from twinclock.stream import Stream

Model: TypeAlias = Mapping[str, Json]
"""A stored model: `trigger` is its number, `first_ts` and `last_ts` are those of its trigger's samples."""
Interval: TypeAlias = dict[str, Json]
Which: TypeAlias = Literal["active", "trained"]
Bounds: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Starts and ends of some intervals."""


class SlicingPlan(Section):
    """Intervals of equal length, one after another; the last may be shorter."""

    kind: Literal["slicing"] = "slicing"
    every: Duration
    """Length of a slice, in seconds of data time."""
    from_: float | None = Field(default=None, alias="from")
    """Data time at which the first begins; None: at the first sample."""
    to: float | None = None
    """Data time at which the last ends; None: with the last sample."""
    models: Literal["all", "active", "trained"] = "active"
    """All models on all intervals (a matrix), or the one in use on each."""
    when: Literal["after_training", "after_pipeline"] = "after_training"

    @model_validator(mode="after")
    def _ordered(self) -> SlicingPlan:
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise WrongKeyError("to", f"got {self.to:g}, expected more than from, which is {self.from_:g}")
        return self


class BetweenTriggersPlan(Section):
    """The samples of each training's trigger, [first ts, last ts + 1), and what came after the last of them."""

    kind: Literal["between_triggers"] = "between_triggers"
    models: Literal["all", "active", "trained"] = "active"
    when: Literal["after_training", "after_pipeline"] = "after_training"


EvaluationPlan: TypeAlias = Annotated[SlicingPlan | BetweenTriggersPlan, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """The score of the model in use at each time, as one number."""

    value: float | None
    """Time-weighted mean over the intervals that have a score; None if none has."""
    left_out: float
    """Share of the time, in [0, 1], whose intervals have no such model or no samples: not counted as 0."""


def active(models: Iterable[Model], key: float) -> Model | None:
    """The newest model (highest trigger) whose last training sample has a timestamp below `key`."""
    return models_in_use(models, "active", np.array([key]))[0]


def trained(models: Iterable[Model], key: float) -> Model | None:
    """The model next newer than the active one; the first if none is active; the active one if it is the last."""
    return models_in_use(models, "trained", np.array([key]))[0]


def models_in_use(models: Iterable[Model], which: Which, keys: NDArray[np.float64]) -> list[Model | None]:
    """The active, or trained, model for each key (an interval's start)."""
    ordered = in_order(models)
    return [ordered[index] if index >= 0 else None for index in indices_in_use(ordered, which, keys).tolist()]


def indices_in_use(ordered: Sequence[Model], which: Which, keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same as indices into the models, which are in order; -1 where there is none."""
    # the data of a newer trigger never end earlier, so the order by trigger is one by time
    indices = np.searchsorted([model["last_ts"] for model in ordered], keys, side="left") - 1
    return np.minimum(indices + 1, len(ordered) - 1) if which == "trained" else indices


def in_order(models: Iterable[Model]) -> list[Model]:
    """Oldest first, that is, by trigger."""
    return sorted(models, key=lambda model: model["trigger"])


def intervals(plan: EvaluationPlan, stream: Stream, informed_stop: int, models: Iterable[Model]) -> list[Interval]:
    """The plan's intervals over the samples [0, informed_stop), after which the stream is taken to end.

    Each with the positions [first, stop) that lie in it. Empty ones are listed too: that there was
    nothing to score is a result.
    """
    return located(all_bounds(plan, stream, informed_stop, models), stream, informed_stop)


def located(bounds: Bounds, stream: Stream, stop: int) -> list[Interval]:
    """Intervals with the positions, below `stop`, that lie in each."""
    found = []
    for start, end in zip(bounds[0].tolist(), bounds[1].tolist(), strict=True):
        first = stream.first_at_or_after(start, 0, stop)
        found.append({"start": start, "end": end, "first": first, "stop": stream.first_at_or_after(end, first, stop)})
    return found


def all_bounds(plan: EvaluationPlan, stream: Stream, stop: int, models: Iterable[Model]) -> Bounds:
    """All intervals of a stream that ends at position `stop`."""
    if stop == 0:
        return np.empty(0), np.empty(0)
    end = stream.timestamp(stop - 1) + 1.0
    if isinstance(plan, SlicingPlan):
        starts, ends = _slices(plan, stream, end)
        return starts, np.minimum(ends, end)
    starts, ends = _arrays(dict.fromkeys((model["first_ts"], model["last_ts"] + 1.0) for model in in_order(models)))
    if len(ends) and ends[-1] < end:
        return np.append(starts, ends[-1]), np.append(ends, end)
    return starts, ends


def completed_bounds(
    plan: EvaluationPlan, trigger: Mapping[str, Json], models: Iterable[Model], stream: Stream
) -> tuple[Bounds, NDArray[np.bool_]]:
    """The intervals that the trigger's data reach the end of; and which of them no earlier trigger's did."""
    if isinstance(plan, SlicingPlan):
        reached = trigger["last_ts"] + 1.0
        starts, ends = _slices(plan, stream, reached)
        starts, ends = starts[ends <= reached], ends[ends <= reached]
        before = trigger["previous_last_ts"]
        return (starts, ends), ends > (-np.inf if before is None else before + 1.0)
    known = {model["trigger"]: (model["first_ts"], model["last_ts"] + 1.0) for model in in_order(models)}
    own = known.get(trigger["serial"])
    # triggers within one timestamp share an interval; with a model stored out of turn it may be planned already
    shared = sum(each == own for each in known.values()) > 1
    reached_bounds = dict.fromkeys(each for serial, each in known.items() if serial <= trigger["serial"])
    return _arrays(reached_bounds), np.array([each == own and not shared for each in reached_bounds], bool)


def composite(
    scores: Iterable[Mapping[str, Json]],
    models: Iterable[Model],
    which: Which,
    *,
    over: Iterable[Mapping[str, Json]] | None = None,
) -> Composite:
    """The scores of the model in use on each interval, weighted by the interval's length in data time.

    `scores` are rows of one plan and one metric (else ValueError). `over` names all intervals asked
    for, as `intervals` gives them; without it the intervals that occur in `scores` are all.
    """
    rows = list(scores)
    kinds = {(row["plan"], row["metric"]) for row in rows}
    if len(kinds) > 1:
        raise ValueError(f"expected scores of one plan and one metric, got {sorted(kinds)}")
    in_use = models_in_use(models, which, np.array([row["start"] for row in rows]))
    values: dict[tuple[float, float], float] = {
        (row["start"], row["end"]): row["value"]
        for row, model in zip(rows, in_use, strict=True)
        if model is not None and row["model"] == model["trigger"] and row["value"] is not None
    }
    asked = {(each["start"], each["end"]) for each in (rows if over is None else over)} | values.keys()
    scored_s = sum(end - start for start, end in sorted(values))
    if not values:
        return Composite(value=None, left_out=1.0)
    weighted = sum(value * (end - start) for (start, end), value in sorted(values.items()))
    left_out_s = sum(end - start for start, end in sorted(asked - values.keys()))
    return Composite(value=weighted / scored_s, left_out=left_out_s / (left_out_s + scored_s))


def _slices(plan: SlicingPlan, stream: Stream, stop_ts: float) -> Bounds:
    """The slices that begin before `stop_ts`; none goes beyond the plan's own end."""
    origin = stream.timestamp(0) if plan.from_ is None else plan.from_
    plan_end = math.inf if plan.to is None else plan.to
    num_slices = max(0, math.ceil((min(stop_ts, plan_end) - origin) / plan.every))
    edges = np.asarray(origin + plan.every * np.arange(num_slices + 1), np.float64)
    return edges[:-1], np.minimum(edges[1:], plan_end)


def _arrays(pairs: Iterable[tuple[float, float]]) -> Bounds:
    both = np.array(list(pairs), np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
