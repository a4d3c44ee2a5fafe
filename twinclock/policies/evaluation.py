"""Which evaluations to plan when: each pair of a model and an interval that a plan asks for, once.

A pair belongs to the training that completes it: the later of the model's own, and the first one
whose data reach the interval's end. What no training planned (its training failed, an older model
was stored late, the plan says so) is left for after the pipeline.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.intervals import (
    BetweenTriggersPlan,
    Bounds,
    Composite,
    EvaluationPlan,
    Interval,
    Model,
    SlicingPlan,
    active,
    all_bounds,
    completed_bounds,
    composite,
    in_order,
    indices_in_use,
    intervals,
    located,
    trained,
)
from twinclock.stream import Stream

__all__ = [
    "BetweenTriggersPlan",
    "Composite",
    "EvaluationPlan",
    "Interval",
    "Model",
    "SlicingPlan",
    "active",
    "composite",
    "intervals",
    "plan_after_pipeline",
    "plan_after_training",
    "trained",
]

Job: TypeAlias = dict[str, Json]
PlannedRow: TypeAlias = list[Json]
"""[plan, model, start, end]"""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One model and the intervals of one plan that it is to be scored on."""

    plan: int
    model: Model
    bounds: Bounds


def plan_after_training(
    plans: Sequence[EvaluationPlan],
    trigger: Mapping[str, Json],
    models: Iterable[Model],
    stream: Stream,
    metrics: Sequence[str],
) -> tuple[list[Job], list[PlannedRow]]:
    """The pairs that the training of `trigger` completes, one job for each plan and model; and their log.

    `models` are those stored by now. Samples that share a timestamp belong to one interval, even if
    the trigger cut between them.
    """
    ordered = in_order(models)
    pairs: list[_Pairs] = []
    for number, plan in enumerate(plans):
        if plan.when == "after_training":
            bounds, is_new = completed_bounds(plan, trigger, ordered, stream)
            own = bisect_left(ordered, trigger["serial"], key=lambda model: model["trigger"])
            pairs += _asked(number, plan, ordered, bounds, own, is_new)
    jobs = _jobs(pairs, trigger["serial"], stream, stream.num_samples, metrics)
    return jobs, [[p.plan, p.model["trigger"], *bound] for p in pairs for bound in _listed(p.bounds)]


def plan_after_pipeline(
    plans: Sequence[EvaluationPlan],
    models: Iterable[Model],
    planned: Mapping[str, Json],
    selector: Mapping[str, Json],
    stream: Stream,
    metrics: Sequence[str],
) -> list[Job]:
    """All that the plans ask for over the samples informed, less what the register `planned` holds already."""
    done = {tuple(row) for row in planned["items"]}
    ordered = in_order(models)
    pairs: list[_Pairs] = []
    for number, plan in enumerate(plans):
        bounds = all_bounds(plan, stream, selector["informed"], ordered)
        everything = np.ones(len(bounds[0]), bool)
        for each in _asked(number, plan, ordered, bounds, len(ordered) - 1, everything):
            is_new = [(number, each.model["trigger"], *bound) not in done for bound in _listed(each.bounds)]
            pairs.append(_Pairs(number, each.model, _only(each.bounds, np.array(is_new, bool))))
    return _jobs(pairs, None, stream, selector["informed"], metrics)


def _asked(
    number: int,
    plan: EvaluationPlan,
    models: Sequence[Model],
    bounds: Bounds,
    own: int,
    is_new: NDArray[np.bool_],
) -> Iterator[_Pairs]:
    """The pairs that a plan wants: of the model at index `own` on every interval, of those before on new ones."""
    if plan.models == "all":
        for index, model in enumerate(models[: own + 1]):
            yield _Pairs(number, model, bounds if index == own else _only(bounds, is_new))
        return
    in_use = indices_in_use(models, plan.models, bounds[0])
    asked = (in_use >= 0) & ((in_use == own) | (is_new & (in_use < own)))
    for index in np.unique(in_use[asked]).tolist():
        yield _Pairs(number, models[index], _only(bounds, asked & (in_use == index)))


def _only(bounds: Bounds, mask: NDArray[np.bool_]) -> Bounds:
    return bounds[0][mask], bounds[1][mask]


def _listed(bounds: Bounds) -> Iterator[tuple[float, float]]:
    return zip(bounds[0].tolist(), bounds[1].tolist(), strict=True)


def _jobs(pairs: Iterable[_Pairs], trigger: int | None, stream: Stream, stop: int, metrics: Sequence[str]) -> list[Job]:
    return [
        {
            "trigger": trigger,
            "model": each.model["trigger"],
            "lineage": dict(each.model),
            "plan": each.plan,
            "intervals": located(each.bounds, stream, stop),
            "metrics": list(metrics),
        }
        for each in pairs
        if len(each.bounds[0])
    ]
