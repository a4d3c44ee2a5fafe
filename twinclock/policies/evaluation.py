"""Which evaluations to plan when: each pair of a model and an interval that a plan asks for, once.

A pair belongs to the training that completes it: the later of the model's own, and the first one
whose data reach the interval's end. What no training planned (its training failed, an older model
was stored late, the plan says so) is left for after the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.intervals import (
    METRICS,
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
    intervals,
    located,
    models_in_use,
    trained,
)
from twinclock.stream import Stream

__all__ = [
    "METRICS",
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
    pairs = []
    for number, plan in enumerate(plans):
        if plan.when == "after_training":
            bounds, is_new = completed_bounds(plan, trigger, ordered, stream)
            for model, asked in _asked(plan, ordered, bounds):
                if model["trigger"] < trigger["serial"]:
                    asked = asked & is_new
                if model["trigger"] <= trigger["serial"]:
                    pairs.append(_Pairs(number, model, _only(bounds, asked)))
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
    pairs = []
    for number, plan in enumerate(plans):
        bounds = all_bounds(plan, stream, selector["informed"], ordered)
        for model, asked in _asked(plan, ordered, bounds):
            is_new = [(number, model["trigger"], *bound) not in done for bound in _listed(bounds)]
            pairs.append(_Pairs(number, model, _only(bounds, asked & np.array(is_new, bool))))
    return _jobs(pairs, None, stream, selector["informed"], metrics)


def _asked(plan: EvaluationPlan, models: Sequence[Model], bounds: Bounds) -> Iterator[tuple[Model, NDArray[np.bool_]]]:
    """Each model with a mask: the intervals on which the plan wants it."""
    if plan.models == "all":
        for model in models:
            yield model, np.ones(len(bounds[0]), bool)
    else:
        in_use = models_in_use(models, plan.models, bounds[0])
        for model in models:
            yield model, np.array([each is model for each in in_use], bool)


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
