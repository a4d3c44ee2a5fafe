"""Which evaluations to plan when: each pair of a model and an interval that a plan asks for, once.

A pair belongs to the training that completes it: the later of the model's own, and the first one up to
whose trigger all samples of the interval are known. What no training planned (its training failed, an
older model was stored late, the plan says so) is left for after the pipeline. Where a plan asks who
served, a pair is a model and the samples of the interval that it served. A model that the gate turned away
is scored where a plan asks for all models, or for each on the data around its own; it is never in use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.evaluation.in_use import Model, activated, in_order, indices_in_use, served
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
    ordered, serial = in_order(models), trigger["serial"]
    until_own = [model for model in ordered if model["trigger"] <= serial]
    pairs: list[_Pairs] = []
    for number, plan in enumerate(plans):
        if plan.when == "after_training":
            bounds, is_new = reached_bounds(plan, trigger, until_own, stream)
            eligible = _eligible(plan, ordered)
            is_settled = _is_settled(plan, eligible, bounds)
            bounds, is_new = bounds.only(is_settled), is_new[is_settled]
            asked = _asked(plan, eligible, bounds, serial, is_new, stream, trigger["stop"])
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
        newest = ordered[-1]["trigger"] if ordered else 0
        eligible = _eligible(plan, ordered)
        for model, found in _asked(plan, eligible, bounds, newest, everything, stream, informed):
            pairs.append(_Pairs(number, model, _not_in(done, number, model, found)))
    return _jobs(pairs, None, metrics, per_visit)


def _not_in(done: Collection[tuple[Json, ...]], plan: int, model: Model, found: Iterable[Interval]) -> list[Interval]:
    return [each for each in found if (plan, model["trigger"], each["start"], each["end"]) not in done]


def _eligible(plan: EvaluationPlan, ordered: Sequence[Model]) -> Sequence[Model]:
    """The models, in order, among which a plan chooses."""
    return ordered if plan.models in ("all", "own") else activated(ordered)


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
    """What a plan wants of each model: of that of the trigger `own` every interval, of those before it the new ones.

    Samples from position `stop` on are not scored.
    """
    if plan.models == "served":
        yield from _stretches(models, located(bounds.only(is_new), stream, stop))
        return
    if plan.models == "all":
        for model in models:
            if model["trigger"] <= own:
                yield model, located(bounds if model["trigger"] == own else bounds.only(is_new), stream, stop)
        return
    serials = np.array([model["trigger"] for model in models], np.int64)
    if plan.models == "own":
        in_use = np.searchsorted(serials, bounds.owners)
    else:
        in_use = indices_in_use(models, plan.models, bounds.keys)
    there = in_use >= 0
    whose = np.full(len(in_use), -1)
    whose[there] = serials[in_use[there]]
    asked = there & ((whose == own) | (is_new & (whose < own)))
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
