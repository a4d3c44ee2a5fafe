"""Scoring a stored model on intervals of the stream: the interface, and the built-in evaluator.

An evaluator of the user's own (`evaluation.evaluator: package.module:Class`) is a class without
arguments whose `evaluate` does what `Evaluator.evaluate` says, for metrics of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from real.encoding import UNKNOWN
from real.metrics import (
    LEAST_PROBABILITY,
    NO_RANK,
    Classified,
    check_classes,
    needs_probabilities,
    score_classes,
    score_numbers,
)
from real.models import ModelError, check_outputs, restored_model, torch_device
from real.store import StoredModel
from real.trainer import StoppedError
from twinclock.dataset import Table
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.metrics import find_metric, metric_names
from twinclock.policies.selection import merge_ranges

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
    """The metrics of `twinclock.policies.metrics`, as `real.metrics` defines them."""

    def evaluate(self, context: EvaluationContext) -> list[Json]:
        """Score. ModelError if the model's outputs are no finite numbers of the right shape.

        ConfigError for a metric that is unknown, or can't be had from this model.
        """
        encoding = context.model.encoding
        tasks = {name: None if (found := find_metric(name)) is None else found.task for name in context.metrics}
        wrong = [name for name, task in tasks.items() if task != encoding.task]
        if wrong:
            expected = f"{', '.join(metric_names(encoding.task))} for a {encoding.task}"
            raise ConfigError(f"evaluation.metrics: got {', '.join(wrong)}, expected {expected}")
        score = _score_of_numbers(context) if encoding.task == "regression" else _score_of_classes(context)
        return [
            {
                "start": each["start"],
                "end": each["end"],
                "metric": metric,
                "value": score(metric, each["first"], each["stop"]),
                "num_samples": each["stop"] - each["first"],
            }
            for each in context.intervals
            for metric in context.metrics
        ]


def _score_of_classes(context: EvaluationContext) -> Callable[[str, int, int], float | None]:
    """Let the model classify all that lies in an interval; from a metric and positions [first, stop) to its value."""
    known = context.model.encoding.classes
    for metric in context.metrics:
        check_classes(metric, known)
    width = len(known) if any(map(needs_probabilities, context.metrics)) else 0
    # by position; what lies in no interval is never filled in, nor given memory by the system
    size = context.table.num_samples
    samples = Classified(
        known=known,
        label=np.empty(size, np.int64),
        predicted=np.empty(size, np.int64),
        rank=np.empty(size, np.int64),
        log_loss=np.empty(size),
        log_probabilities=np.empty((size, width)),
    )
    unseen: dict[str, int] = {}
    for part in _parts(context):
        log_probabilities = torch.from_numpy(part.outputs).log_softmax(dim=1).numpy()
        label = context.model.encoding.labels(part.rows)
        predicted, rank, log_loss = _judged(log_probabilities, label)
        samples.label[part.at] = _numbered(label, context.model.encoding.label_texts(part.rows), len(known), unseen)
        samples.predicted[part.at] = predicted
        samples.rank[part.at] = rank
        samples.log_loss[part.at] = log_loss
        samples.log_probabilities[part.at] = log_probabilities[:, :width]
    return lambda metric, first, stop: score_classes(metric, samples.part(first, stop))


def _judged(
    log_probabilities: NDArray[np.float64], label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each row the most likely class, the rank of its label, and its log loss; of equals the first is likelier."""
    is_known = label != UNKNOWN
    true = np.where(is_known, label, 0)[:, None]
    of_label = np.take_along_axis(log_probabilities, true, axis=1)
    is_before = np.arange(log_probabilities.shape[1]) < true
    rank = ((log_probabilities > of_label) | ((log_probabilities == of_label) & is_before)).sum(axis=1)
    floor = np.log(LEAST_PROBABILITY)
    log_loss = 0.0 - np.where(is_known, np.maximum(of_label[:, 0], floor), floor)
    return log_probabilities.argmax(axis=1), np.where(is_known, rank, NO_RANK), log_loss


def _numbered(label: NDArray[np.int64], texts: pl.Series, num_known: int, unseen: dict[str, int]) -> NDArray[np.int64]:
    """The class numbers, where labels never seen in training have numbers of their own, kept in `unseen`."""
    is_unseen = label == UNKNOWN
    if not is_unseen.any():
        return label
    numbers = [unseen.setdefault(text, num_known + len(unseen)) for text in texts.filter(pl.Series(is_unseen))]
    numbered = label.copy()
    numbered[is_unseen] = numbers
    return numbered


def _score_of_numbers(context: EvaluationContext) -> Callable[[str, int, int], float | None]:
    """Let the model predict all that lies in an interval; from a metric and positions [first, stop) to its value."""
    encoding = context.model.encoding
    label, predicted = np.empty(context.table.num_samples), np.empty(context.table.num_samples)
    for part in _parts(context):
        label[part.at] = encoding.label_values(part.rows)
        predicted[part.at] = encoding.predictions(part.outputs)
    return lambda metric, first, stop: score_numbers(metric, label[first:stop], predicted[first:stop])


class _Part(NamedTuple):
    """Some rows of the table, and what the model gives for them."""

    at: slice
    """Their positions."""
    rows: pl.DataFrame
    outputs: NDArray[np.float64]


def _parts(context: EvaluationContext) -> Iterator[_Part]:
    """Every position that lies in an interval, once."""
    encoding, device = context.model.encoding, torch_device(context.device)
    model = restored_model(context.model).to(device).eval()
    at_once = encoding.rows_at_once(_ROWS_AT_ONCE)
    for first, stop in merge_ranges([each["first"], each["stop"]] for each in context.intervals):
        for begin in range(first, stop, at_once):
            if context.should_stop():
                raise StoppedError
            end = min(begin + at_once, stop)
            rows = context.table.rows([[begin, end]])
            with torch.inference_mode():
                outputs = model(torch.from_numpy(encoding.features(rows)).to(device))
                check_outputs(outputs, rows.height, encoding.num_outputs, model)
                if not bool(outputs.isfinite().all()):
                    raise ModelError(f"model {type(model).__name__} gives outputs that are not finite")
            yield _Part(slice(begin, end), rows, outputs.cpu().double().numpy())
