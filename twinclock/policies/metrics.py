"""The metrics that models are scored by: what each is called, which way it is better, and what it needs.

The table is shared by evaluation plans, by the triggers that look at scores, and by whoever computes the
scores, so that a name means one thing everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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

_OVER_CLASSES = "A class is one that is a label or a prediction on the interval; its F1 is 2·TP / (2·TP + FP + FN)."
METRIC_TEXTS: Mapping[str, str] = {
    "accuracy": """The share of the samples whose most likely class is the right one.

    Σ [ŷᵢ = yᵢ] / n. A label that was never seen in training counts as wrong.
    """,
    "f1_macro": f"""The mean of the F1 of all classes, each counting the same.

    Σ F1(c) / number of classes. {_OVER_CLASSES}
    """,
    "f1_micro": f"""The F1 of all classes together, each sample counting the same.

    2·ΣTP / (2·ΣTP + ΣFP + ΣFN), sums over the classes. With one label for each sample that is the accuracy.
    {_OVER_CLASSES}
    """,
    "f1_weighted": f"""The mean of the F1 of all classes, weighted by how often each is the label.

    Σ n(c)·F1(c) / n. {_OVER_CLASSES}
    """,
    "f1_binary": """The F1 of one class of two: the second in alphabetical order, such as `1`, `true` or `yes`.

    2·TP / (2·TP + FP + FN). No value where that class is neither label nor prediction, or where the model knows one
    class only; with more than two classes an error.
    """,
    "roc_auc": """The chance that a sample of a class is held more likely to be of it than one of another class.

    The area under the ROC curve of p(class), as in sklearn.metrics.roc_auc_score. With two classes that of the second
    one in alphabetical order; else the mean over the classes on the interval, each against all others. No value where
    a side has no sample.
    """,
    "log_loss": """How surprised the model is by the labels.

    −Σ ln p(yᵢ) / n, in nats; p counts as 1e-15 at least, which is what a label has that was never seen in training.
    """,
    "mae": """How far predictions are from the labels.

    Σ |ŷᵢ − yᵢ| / n, in the label's unit.
    """,
    "rmse": """How far predictions are from the labels, where large errors count more.

    √(Σ (ŷᵢ − yᵢ)² / n), in the label's unit.
    """,
    "r2": """The share of the labels' variance that the predictions explain.

    1 − Σ (ŷᵢ − yᵢ)² / Σ (yᵢ − ȳ)²; below 0 where the labels' mean would have done better. No value where all labels are
    equal.
    """,
    "top_<n>_accuracy": """The share of the samples whose class is among the n most likely.

    Written with a number, such as top_3_accuracy. The number of samples with rank of yᵢ ≤ n, over the number of all.
    """,
}
"""What each metric is: one line, and then exactly."""


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
