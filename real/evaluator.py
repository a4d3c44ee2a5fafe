"""Scoring a stored model on intervals of the stream: the interface, and the built-in evaluator.

An evaluator of the user's own (`evaluation.evaluator: package.module:Class`) is a class without
arguments whose `evaluate` does what `Evaluator.evaluate` says, for metrics of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from real.encoding import UNKNOWN
from real.models import ModelError, build_model, check_outputs, torch_device
from real.store import StoredModel
from real.trainer import StoppedError
from twinclock.dataset import Table
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.selection import merge_ranges

METRICS = ("accuracy", "log_loss")
"""What the built-in evaluator can measure."""
LEAST_PROBABILITY = 1e-15
"""What the log loss takes for a smaller probability, and for that of a label never seen in training."""
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationContext:
    """All that an evaluation may look at."""

    model: StoredModel
    table: Table
    intervals: Sequence[Mapping[str, Json]]
    """Each with `start` and `end` in data time, and the positions [`first`, `stop`) that lie in it."""
    metrics: Sequence[str]
    device: str
    """`cpu` or `cuda`, with the number of the device: `cuda:0`."""
    should_stop: Callable[[], bool]
    """To be asked now and then; once it is true, raise StoppedError."""


class Evaluator(Protocol):
    """Says how good a model is on each of some intervals."""

    def evaluate(self, context: EvaluationContext) -> list[Json]:
        """One row per interval and metric, intervals first: `start`, `end`, `metric`, `value`, `num_samples`.

        `value` is finite, or None where there is nothing to measure. Raises StoppedError when asked to
        stop; anything else that it raises is the evaluation's failure.
        """


class TorchEvaluator:
    """Accuracy (share of samples whose most likely class is right) and log loss (natural logarithm, mean)."""

    def evaluate(self, context: EvaluationContext) -> list[Json]:
        """Score. ModelError if the model's outputs are no finite logits, ConfigError for an unknown metric."""
        unknown = [metric for metric in context.metrics if metric not in METRICS]
        if unknown:
            raise ConfigError(f"evaluation.metrics: got {', '.join(unknown)}, expected {', '.join(METRICS)}")
        scores = _score_samples(context)
        return [
            {
                "start": each["start"],
                "end": each["end"],
                "metric": metric,
                "value": _mean(scores[metric][each["first"] : each["stop"]]),
                "num_samples": each["stop"] - each["first"],
            }
            for each in context.intervals
            for metric in context.metrics
        ]


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _score_samples(context: EvaluationContext) -> dict[str, NDArray[np.float64]]:
    """What each sample adds to each metric, by position; only positions inside an interval are filled in."""
    device = torch_device(context.device)
    model = _restored(context.model).to(device).eval()
    scores = {metric: np.empty(context.table.num_samples) for metric in METRICS}
    for first, stop in merge_ranges([each["first"], each["stop"]] for each in context.intervals):
        for begin in range(first, stop, _ROWS_AT_ONCE):
            if context.should_stop():
                raise StoppedError
            end = min(begin + _ROWS_AT_ONCE, stop)
            for metric, values in _score_rows(model, context, context.table.rows([[begin, end]]), device).items():
                scores[metric][begin:end] = values
    return scores


def _restored(stored: StoredModel) -> nn.Module:
    encoding = stored.encoding
    model = build_model(stored.config, num_inputs=encoding.num_inputs, num_classes=encoding.num_classes)
    try:
        model.load_state_dict(dict(stored.weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the stored weights don't fit the model that is configured: {reason}") from None
    return model


def _score_rows(
    model: nn.Module, context: EvaluationContext, rows: pl.DataFrame, device: torch.device
) -> dict[str, NDArray[np.float64]]:
    encoding = context.model.encoding
    labels = encoding.labels(rows)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(encoding.features(rows)).to(device))
        check_outputs(outputs, rows.height, encoding.num_classes, model)
        if not bool(outputs.isfinite().all()):
            raise ModelError(f"model {type(model).__name__} gives outputs that are not finite")
        log_probabilities = outputs.cpu().double().log_softmax(dim=1).numpy()
    is_known = labels != UNKNOWN
    log_of_label = log_probabilities[np.arange(rows.height), np.where(is_known, labels, 0)]
    floor = np.log(LEAST_PROBABILITY)
    return {
        "accuracy": (log_probabilities.argmax(axis=1) == labels).astype(np.float64),
        "log_loss": 0.0 - np.where(is_known, np.maximum(log_of_label, floor), floor),
    }
