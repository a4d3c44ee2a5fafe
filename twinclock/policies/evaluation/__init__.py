"""Evaluation: which models are scored on which intervals of data time, when, and what their scores come to.

`plans` is what a user writes; `intervals` says which intervals a plan asks for, `in_use` which model
counts on each, `planning` which pairs of the two are due after a training, and `composite` makes one
number of the scores. All intervals are half-open, [start, end).
"""

from twinclock.policies.evaluation.composite import Composed, Composite, composite, scores_in_use
from twinclock.policies.evaluation.in_use import Model, active, served, trained
from twinclock.policies.evaluation.intervals import NO_BOUNDS, Bounds, Interval, Span, all_bounds, intervals
from twinclock.policies.evaluation.planning import plan_after_pipeline, plan_after_training
from twinclock.policies.evaluation.plans import (
    BetweenTriggersPlan,
    EvaluationPlan,
    OffsetPlan,
    PeriodicPlan,
    SlicingPlan,
    StaticPlan,
)

__all__ = [
    "NO_BOUNDS",
    "BetweenTriggersPlan",
    "Bounds",
    "Composed",
    "Composite",
    "EvaluationPlan",
    "Interval",
    "Model",
    "OffsetPlan",
    "PeriodicPlan",
    "SlicingPlan",
    "Span",
    "StaticPlan",
    "active",
    "all_bounds",
    "composite",
    "intervals",
    "plan_after_pipeline",
    "plan_after_training",
    "scores_in_use",
    "served",
    "trained",
]
