"""What pictures take from the result of a study, and what they make of the values of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RESAMPLES = 2000
_LEVEL = 0.95


class MetricLike(Protocol):
    """A figure of a run, and which way it is better."""

    @property
    def name(self) -> str:
        """As in the summary of a run."""

    @property
    def larger_is_better(self) -> bool:
        """Else less is better."""


class StudyLike(Protocol):
    """What is asked of a study."""

    @property
    def name(self) -> str:
        """For headings."""

    @property
    def compared(self) -> Sequence[MetricLike]:
        """The first is the quality, the second the cost."""


class ResultLike(Protocol):
    """The runs of a study and their figures."""

    @property
    def study(self) -> StudyLike:
        """What was to be run."""

    @property
    def variants(self) -> Sequence[str]:
        """Labels in the study's order."""

    @property
    def axes(self) -> Sequence[str]:
        """Names of the columns of `runs` that hold the levels."""

    @property
    def runs(self) -> pl.DataFrame:
        """One row a run: run, variant, seed, a column for each axis, state, error."""

    @property
    def metrics(self) -> pl.DataFrame:
        """One row a run and metric: run, metric, value."""


class Mean(NamedTuple):
    """A mean with a 95 % interval; all NaN without values, the ends NaN with fewer than two."""

    value: float
    low: float
    high: float
    num_values: int


def mean_of(values: Floats) -> Mean:
    """The mean of the values that are numbers, with the percentile bootstrap's interval over them."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return Mean(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Mean(mean, np.nan, np.nan, 1)
    draws = np.random.default_rng(0).integers(0, len(known), (_RESAMPLES, len(known)))
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(known[draws].mean(axis=1), (tail, 1 - tail))
    return Mean(mean, float(low), float(high), len(known))


def values_of(result: ResultLike, metric: str) -> pl.DataFrame:
    """The done runs, as in `runs`, with `value`: the metric, null where a run has none."""
    values = result.metrics.filter(pl.col("metric") == metric).select("run", pl.col("value").fill_nan(None))
    return result.runs.filter(pl.col("state") == "done").join(values, on="run", how="left", maintain_order="left")


def values_by_variant(result: ResultLike, metric: str) -> list[Floats]:
    """The metric's values for each variant, in their order."""
    values = values_of(result, metric)
    return [
        values.filter(pl.col("variant") == variant)["value"].drop_nulls().cast(pl.Float64).to_numpy()
        for variant in result.variants
    ]


def is_larger_better(result: ResultLike, metric: str, otherwise: bool) -> bool:
    """Which way the study wants a metric; `otherwise` if it is none of the study's."""
    return next((each.larger_is_better for each in result.study.compared if each.name == metric), otherwise)


def lacking(result: ResultLike) -> str:
    """How many runs have come to nothing, in words; empty if none."""
    counts = result.runs.filter(pl.col("state") != "done").group_by("state").len().sort("state")
    return ", ".join(f"{number} {state}" for state, number in counts.iter_rows())
