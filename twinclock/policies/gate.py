"""The gate: may a model that was just stored take the place of the active one?

Both are scored on the same samples, which the candidate was not trained on: those held out of its training set, and
what came after them up to its trigger.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from twinclock.policies.metrics import METRIC_NAMES, Task, find_metric, metric_names
from twinclock.section import Section, WrongKeyError


class GateConfig(Section):
    """A stored model becomes active only if it is not much worse than the active one."""

    metric: str = Field(min_length=1)
    """What both are scored by."""
    max_worse: float = Field(ge=0)
    """By how much, in the metric's own unit, the candidate may be worse."""
    better: Literal["higher", "lower"] | None = None
    """Which values are better, of a metric of the user's own; None: one of the built-in metrics."""

    @model_validator(mode="after")
    def _which_is_better_is_known_once(self) -> GateConfig:
        if self.better is not None and find_metric(self.metric) is not None:
            raise WrongKeyError("better", f"got {self.better}, expected null: it is known of {self.metric}")
        return self

    @property
    def higher_is_better(self) -> bool:
        """Of this metric."""
        known = find_metric(self.metric)
        return self.better == "higher" if known is None else known.bad == "lower"


class Passed(NamedTuple):
    """What the gate says of a candidate, and why."""

    is_activated: bool
    reason: str


def judge(gate: GateConfig, candidate: float | None, active: float | None) -> Passed:
    """Of a candidate and the active model by their scores; None: there is none.

    Without both scores nothing says that the candidate is as good, so the active model stays.
    """
    if candidate is None or active is None:
        missing = " and ".join(
            name for name, score in (("the candidate", candidate), ("the active model", active)) if score is None
        )
        return Passed(False, f"no {gate.metric} of {missing}")
    worse = active - candidate if gate.higher_is_better else candidate - active
    told = f"{gate.metric} {candidate:.6g}, the active model has {active:.6g}"
    return Passed(not worse > gate.max_worse, told)


def metric_problem(gate: GateConfig, task: Task, has_own_evaluator: bool) -> tuple[str, str] | None:
    """What is wrong with the metric of a gate: the key in its section, and the line about it; None: nothing."""
    known = find_metric(gate.metric)
    if known is not None and known.task == task:
        return None
    if not has_own_evaluator:
        what = ", ".join(METRIC_NAMES if known is None else metric_names(task))
        return "metric", f"got {gate.metric}, expected one of {what} for training.task {task}"
    if known is None and gate.better is None:
        return "better", f"missing, expected higher or lower: {gate.metric} is a metric of your own evaluator"
    return None
