"""Scores from a matrix, models × intervals, that a real run has measured: for other policies on the same data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import field_validator

from sim.quality.protocol import Span
from sim.quality.source import check_likeness, finished_run
from twinclock.config import Config
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.section import ListOf, Section

_NEEDED = "expected a run with models and an evaluation plan with models: all, such as between_triggers"


class MatrixQuality(Section):
    """The nearest scores of a real run that trained often and scored all its models on all intervals.

    A model is answered for by the newest measured one trained up to the same sample or an earlier one, and an
    interval by the measured scores of the intervals that it overlaps, each weighted by how many of its samples lie in
    the overlap, spread evenly over its data time. Where an interval was measured as it stands, that is the score.

    Only the position where a model was trained and the interval count, so this extrapolates, without a word, for a
    model older than all measured ones (the oldest answers), for an interval beyond all measured ones (the nearest
    answers), for a selection other than the run's or one whose sets depend on the triggers before (a `tail`), and
    for metrics that are no means over samples (F1, AUC). Data and training other than the run's are refused.

    Several runs, such as repeats with other seeds, each answer by themselves, and the mean counts: what one training is
    better or worse by chance then weighs less.
    """

    kind: Literal["matrix"] = "matrix"
    run: str | ListOf[str]
    """Folder of the real run, or of each of several."""

    @field_validator("run", mode="before")
    @classmethod
    def _is_a_folder_or_some(cls, run: object) -> object:
        if isinstance(run, str) or (isinstance(run, list | tuple) and run and all(isinstance(x, str) for x in run)):
            return run
        raise ValueError("expected the folder of a run, or a list of them")

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders."""
        return (self.run,) if isinstance(self.run, str) else self.run


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One metric of one model, over the intervals of the matrix."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    value: NDArray[np.float64]
    num_samples: NDArray[np.float64]


class MatrixScores:
    """The matrices of some runs, and the mean of what they answer."""

    def __init__(self, folders: Sequence[str], config: Config) -> None:
        """ConfigError if a run is not done, measured no matrix, or had other data or training than `config`."""
        self._matrices = [_Matrix(folder, config) for folder in folders]
        first, *others = self._matrices
        self.metrics = tuple(each for each in first.metrics if all(each in other.metrics for other in others))
        """What all of them have measured."""

    def trained(self, job: Mapping[str, Json]) -> None:
        """Nothing to keep: a lineage entry says it all."""

    def stored(self, model: Mapping[str, Json]) -> None:
        """Nothing to keep."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """The nearest measured score; None without samples. ConfigError for a metric that was not measured."""
        if metric not in self.metrics:
            raise ConfigError(f"sim.quality.run: it has measured {', '.join(self.metrics)}, not {metric}")
        if interval["stop"] <= interval["first"]:
            return None
        return fmean(each.score(model, interval, metric, span) for each in self._matrices)

    def observed(self, request: Mapping[str, Json]) -> None:
        """Errors are drawn, then computed with."""

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> None:
        """They are to be drawn."""


class _Matrix:
    """The matrix of one run."""

    def __init__(self, folder: str, config: Config) -> None:
        run = finished_run(folder)
        check_likeness(folder, run.config, config)
        plans = [number for number, plan in enumerate(run.config.evaluation.plans) if plan.models == "all"]
        scores = run.evaluations.filter(pl.col("plan").is_in(plans) & pl.col("value").is_not_null())
        if scores.is_empty():
            raise ConfigError(f"sim.quality.run: {folder} has no matrix, {_NEEDED}")
        self._exact = {
            (model, start, end, metric): value
            for model, start, end, metric, value in scores.select(
                "model", "start_ts", "end_ts", "metric", "value"
            ).iter_rows()
        }
        # plans overlap each other: where a score is put together, the first plan is asked alone
        rows = _rows(scores.filter(pl.col("plan") == scores["plan"].min()))
        self.metrics = tuple(dict.fromkeys(metric for metric, _ in rows))
        """What was measured."""
        trained = run.triggers.select("trigger", "stop").sort("stop", "trigger").rows()
        self._measured = {
            metric: [(stop, rows[metric, model], model) for model, stop in trained if (metric, model) in rows]
            for metric in self.metrics
        }

    def score(self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, span: Span) -> float:
        measured = self._measured[metric]
        index = bisect_right(measured, model["stop"], key=lambda each: each[0]) - 1
        _, row, serial = measured[max(0, index)]
        exact = self._exact.get((serial, interval["start"], interval["end"], metric))
        return _overlapped(row, *span) if exact is None else exact


def _rows(scores: pl.DataFrame) -> dict[tuple[str, int], _Row]:
    columns = ["start_ts", "end_ts", "value", "num_samples"]
    found = {}
    for (metric, model), group in scores.sort("start_ts", "end_ts").group_by("metric", "model", maintain_order=True):
        found[str(metric), int(str(model))] = _Row(*group.select(columns).cast(pl.Float64).to_numpy().T)
    return found


def _overlapped(row: _Row, start: float, end: float) -> float:
    """The scores of the intervals that [start, end] overlaps, weighted; of the nearest one if there is none."""
    overlap_s = np.minimum(row.end, end) - np.maximum(row.start, start)
    if (overlap_s > 0.0).sum() <= 1:
        # a single moment inside an interval overlaps it with length 0, what lies outside with less
        return float(row.value[np.argmax(overlap_s)])
    weights = row.num_samples * np.maximum(overlap_s, 0.0) / (row.end - row.start)
    return float(np.average(row.value, weights=weights))
