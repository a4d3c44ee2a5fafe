"""The metrics that models are scored by: what each is called, which way it is better, and what it needs.

The table is shared by evaluation plans, by the triggers that look at scores, and by whoever computes the
scores, so that a name means one thing everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Task: TypeAlias = Literal["classification", "regression"]
Direction: TypeAlias = Literal["lower", "higher"]
"""Which side of a threshold is bad: accuracy is bad when it is `lower`, a loss when it is `higher`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is known of a metric besides its values."""

    bad: Direction
    task: Task
    worst: float
    """No value is worse: 0 for accuracy, infinity for a loss."""
    best: float


_INFINITY = float("inf")
_METRICS = {
    "accuracy": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "f1_macro": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "f1_micro": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "f1_weighted": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "f1_binary": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "roc_auc": Metric(bad="lower", task="classification", worst=0.0, best=1.0),
    "log_loss": Metric(bad="higher", task="classification", worst=_INFINITY, best=0.0),
    "mae": Metric(bad="higher", task="regression", worst=_INFINITY, best=0.0),
    "rmse": Metric(bad="higher", task="regression", worst=_INFINITY, best=0.0),
    "r2": Metric(bad="lower", task="regression", worst=-_INFINITY, best=1.0),
}
_TOP_N = re.compile(r"top_([1-9][0-9]{0,8})_accuracy")

METRIC_NAMES = (*_METRICS, "top_<n>_accuracy")
"""Every metric, as a user writes it."""


def find_metric(name: str) -> Metric | None:
    """The metric of that name; None if there is none."""
    return _METRICS["accuracy"] if _TOP_N.fullmatch(name) else _METRICS.get(name)


def metric_names(task: Task) -> tuple[str, ...]:
    """The metrics of a task, as a user writes them."""
    return tuple(name for name in METRIC_NAMES if _METRICS.get(name, _METRICS["accuracy"]).task == task)


def top_n(name: str) -> int | None:
    """How many of the most likely classes count as right: 3 for `top_3_accuracy`, 1 for `accuracy`, else None."""
    if name == "accuracy":
        return 1
    match = _TOP_N.fullmatch(name)
    return None if match is None else int(match[1])
