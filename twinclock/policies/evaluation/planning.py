"""Which evaluations to plan when: each pair of a model and an interval that a plan asks for, once.

A pair belongs to the training that completes it: the later of the model's own, and the first one up to
whose trigger all samples of the interval are known. What no training planned (its training failed, an
older model was stored late, the plan says so) is left for after the pipeline. Where a plan asks who
served, a pair is a model and the samples of the interval that it served.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.evaluation.in_use import Model, in_order, indices_in_use, served
from twinclock.policies.evaluation.intervals import Bounds, Interval, all_bounds, located, reached_bounds, span_of
from twinclock.policies.evaluation.plans import EvaluationPlan
from twinclock.stream import Stream

Job: TypeAlias = dict[str, Json]
PlannedRow: TypeAlias = list[Json]
"""[plan, model, start, end]"""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One model and the intervals of one plan that it is to be scored on."""

    plan: int
    model: Model
    intervals: list[Interval]


def plan_after_training(
    plans: Sequence[EvaluationPlan],
    trigger: Mapping[str, Json],
    models: Iterable[Model],
    stream: Stream,
    metrics: Sequence[str],
    per_visit: int | None = None,
) -> tuple[list[Job], list[PlannedRow]]:
    """The pairs that the training of `trigger` completes, as jobs; and their log.

    `models` are those stored by now. Only samples up to the trigger's position are scored. A job is
    what one visit to a device does: at most `per_visit` intervals of one plan and one model; None: all.
    """
    ordered = in_order(models)
    own = bisect_left(ordered, trigger["serial"], key=lambda model: model["trigger"])
    pairs: list[_Pairs] = []
    for number, plan in enumerate(plans):
        if plan.when == "after_training":
            bounds, is_new = reached_bounds(plan, trigger, ordered[: own + 1], stream)
            is_settled = _is_settled(plan, ordered, bounds)
            asked = _asked(plan, ordered, bounds.only(is_settled), own, is_new[is_settled], stream, trigger["stop"])
            pairs += [_Pairs(number, model, found) for model, found in asked]
    rows = [[p.plan, p.model["trigger"], each["start"], each["end"]] for p in pairs for each in p.intervals]
    return _jobs(pairs, trigger["serial"], metrics, per_visit), rows


def plan_after_pipeline(
    plans: Sequence[EvaluationPlan],
    models: Iterable[Model],
    planned: Mapping[str, Json],
    selector: Mapping[str, Json],
    stream: Stream,
    metrics: Sequence[str],
    per_visit: int | None = None,
) -> list[Job]:
    """All that the plans ask for over the samples informed, less what the register `planned` holds already."""
    done = {tuple(row) for row in planned["items"]}
    ordered, informed = in_order(models), selector["informed"]
    pairs: list[_Pairs] = []
    for number, plan in enumerate(plans):
        bounds = all_bounds(plan, span_of(stream, informed), ordered)
        everything = np.ones(len(bounds.starts), bool)
        for model, found in _asked(plan, ordered, bounds, len(ordered) - 1, everything, stream, informed):
            pairs.append(_Pairs(number, model, _not_in(done, number, model, found)))
    return _jobs(pairs, None, metrics, per_visit)


def _not_in(done: Collection[tuple[Json, ...]], plan: int, model: Model, found: Iterable[Interval]) -> list[Interval]:
    return [each for each in found if (plan, model["trigger"], each["start"], each["end"]) not in done]


def _is_settled(plan: EvaluationPlan, models: Sequence[Model], bounds: Bounds) -> NDArray[np.bool_]:
    """Where a newer model can't change who is asked: the *trained* model of today may be so for want of a newer one."""
    if plan.models != "trained":
        return np.ones(len(bounds.starts), bool)
    return indices_in_use(models, "active", bounds.keys) < len(models) - 1


def _asked(
    plan: EvaluationPlan,
    models: Sequence[Model],
    bounds: Bounds,
    own: int,
    is_new: NDArray[np.bool_],
    stream: Stream,
    stop: int,
) -> Iterator[tuple[Model, list[Interval]]]:
    """What a plan wants of each model: of the one at index `own` every interval, of those before it the new ones.

    Samples from position `stop` on are not scored.
    """
    if plan.models == "served":
        yield from _stretches(models, located(bounds.only(is_new), stream, stop))
        return
    if plan.models == "all":
        for index, model in enumerate(models[: own + 1]):
            yield model, located(bounds if index == own else bounds.only(is_new), stream, stop)
        return
    if plan.models == "own":
        in_use = np.searchsorted([model["trigger"] for model in models], bounds.owners)
    else:
        in_use = indices_in_use(models, plan.models, bounds.keys)
    asked = (in_use >= 0) & ((in_use == own) | (is_new & (in_use < own)))
    for index in np.unique(in_use[asked]).tolist():
        yield models[index], located(bounds.only(asked & (in_use == index)), stream, stop)


def _stretches(models: Sequence[Model], whole: Sequence[Interval]) -> Iterator[tuple[Model, list[Interval]]]:
    """Of each model the samples of each interval that it served."""
    firsts = np.array([each["first"] for each in whole], np.int64)
    stops = np.array([each["stop"] for each in whole], np.int64)
    earliest, latest = min(firsts, default=0), max(stops, default=0)
    for first, stop, model in served(models):
        if first >= latest or (stop is not None and stop <= earliest):
            continue
        begins, ends = np.maximum(firsts, first), stops if stop is None else np.minimum(stops, stop)
        where = np.flatnonzero(begins < ends).tolist()
        yield model, [{**whole[i], "first": int(begins[i]), "stop": int(ends[i])} for i in where]


def _jobs(pairs: Iterable[_Pairs], trigger: int | None, metrics: Sequence[str], per_visit: int | None) -> list[Job]:
    return [
        {
            "trigger": trigger,
            "model": each.model["trigger"],
            "lineage": dict(each.model),
            "plan": each.plan,
            "intervals": each.intervals[first : first + (per_visit or len(each.intervals))],
            "metrics": list(metrics),
        }
        for each in pairs
        for first in range(0, len(each.intervals), per_visit or max(1, len(each.intervals)))
    ]
