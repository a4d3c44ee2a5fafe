"""Metrics: what the predictions on an interval are worth, as one number each.

Every metric is a finite number, or None where it is not defined, for example without samples. A label that was
never seen in training is a class of its own that the model never predicts. So it counts as wrong, and where
probabilities matter it has the least.

accuracy, top_<n>_accuracy
    Share of samples whose label is the most likely class, or one of the n most likely.
log_loss
    Mean of −ln p of the label, natural logarithm; p counts as 1e-15 at least.
f1_macro, f1_weighted, f1_micro
    Over the classes that are labels or predictions in the interval.
f1_binary
    Of the second class in alphabetical order (`1`, `true`, `yes`). None if it is neither label nor prediction, or
    if the model knows one class only; an error if it knows more than two.
roc_auc
    A model of two classes: that same class against all else. Others: the mean over the classes in the interval, each
    against all else; a class never seen in training has 0.5. None if one of the two sides has no sample.
mae, rmse, r2
    In the unit of the label; r2 is None if all labels are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinclock.errors import ConfigError
from twinclock.policies.metrics import find_metric, top_n

LEAST_PROBABILITY = 1e-15
"""What the log loss takes for a smaller probability, and for that of a label never seen in training."""
NO_RANK = np.iinfo(np.int64).max
"""The rank of a label that the model does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What a model said of some samples; one entry, or row, for each."""

    known: tuple[str, ...]
    """The classes that the model knows; their numbers are their places here, other labels have higher ones."""
    label: NDArray[np.int64]
    """Number of the true class."""
    predicted: NDArray[np.int64]
    """Number of the most likely class."""
    rank: NDArray[np.int64]
    """How many classes are more likely than the true one."""
    log_loss: NDArray[np.float64]
    """−ln of the true class's probability."""
    log_probabilities: NDArray[np.float64]
    """ln of each known class's probability, shape (samples, classes); of any other width if no metric needs it."""

    def part(self, first: int, stop: int) -> Classified:
        """Only the samples [first, stop)."""
        each = slice(first, stop)
        return Classified(
            known=self.known,
            label=self.label[each],
            predicted=self.predicted[each],
            rank=self.rank[each],
            log_loss=self.log_loss[each],
            log_probabilities=self.log_probabilities[each],
        )


def load_what_is_needed(metrics: Iterable[str]) -> None:
    """Import now what takes a second to import at the first use of some of these metrics."""
    if any(find_metric(metric) is not None and top_n(metric) is None and metric != "log_loss" for metric in metrics):
        import sklearn.metrics  # noqa: F401


def needs_probabilities(metric: str) -> bool:
    """Does the metric look at the probabilities of all classes?"""
    return metric == "roc_auc"


def check_classes(metric: str, known: tuple[str, ...]) -> None:
    """ConfigError if the metric can't be had from a model of these classes."""
    if metric == "f1_binary" and len(known) > 2:
        raise ConfigError(
            f"evaluation.metrics: f1_binary is for two classes, the model knows {len(known)}; "
            "expected f1_macro, f1_micro or f1_weighted"
        )


def score_classes(metric: str, samples: Classified) -> float | None:
    """The value of a metric of classification; None where it is not defined."""
    if len(samples.label) == 0:
        return None
    num_likeliest = top_n(metric)
    if num_likeliest is not None:
        return float((samples.rank < num_likeliest).mean())
    if metric == "log_loss":
        return float(samples.log_loss.mean())
    if metric == "roc_auc":
        return _roc_auc(samples)
    if metric == "f1_binary":
        return _f1_binary(samples)
    return _f1(samples, metric.removeprefix("f1_"))


def score_numbers(metric: str, label: NDArray[np.float64], predicted: NDArray[np.float64]) -> float | None:
    """The value of a metric of regression; None where it is not defined."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    if len(label) == 0 or (metric == "r2" and label.min() == label.max()):
        return None
    match metric:
        case "mae":
            value = float(mean_absolute_error(label, predicted))
        case "rmse":
            value = math.sqrt(mean_squared_error(label, predicted))
        case "r2":
            value = float(r2_score(label, predicted))
        case _:
            raise ValueError(f"{metric} is no metric of regression")
    return value if math.isfinite(value) else None


def _roc_auc(samples: Classified) -> float | None:
    from sklearn.metrics import roc_auc_score

    asked = [_positive(samples.known)] if len(samples.known) == 2 else np.unique(samples.label).tolist()
    values = []
    for number in asked:
        is_it = samples.label == number
        if is_it.all() or not is_it.any():
            return None
        is_known = number < len(samples.known)
        likely = samples.log_probabilities[:, number] if is_known else np.zeros(len(is_it))
        values.append(roc_auc_score(is_it, likely))
    return float(np.mean(values))


def _f1_binary(samples: Classified) -> float | None:
    if len(samples.known) < 2:
        return None
    from sklearn.metrics import f1_score

    positive = _positive(samples.known)
    is_it, is_predicted = samples.label == positive, samples.predicted == positive
    if not is_it.any() and not is_predicted.any():
        return None
    return float(f1_score(is_it, is_predicted, zero_division=0.0))


def _f1(samples: Classified, average: str) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(samples.label, samples.predicted, average=average, zero_division=0.0))


def _positive(known: tuple[str, ...]) -> int:
    """Of two classes the second in alphabetical order; a model that went on from another may know it first."""
    return known.index(max(known))
