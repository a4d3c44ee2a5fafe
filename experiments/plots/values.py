"""What pictures take from the result of a study, and what they make of the values of several seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from experiments.results import StudyResult
from experiments.statistics.description import mean_interval
from experiments.statistics.observations import Floats

_CONFIDENCE = 0.95


class Mean(NamedTuple):
    """A mean with a 95 % interval; all NaN without values, the ends NaN with fewer than two."""

    value: float
    low: float
    high: float
    num_values: int


def mean_of(values: Floats, *key: str) -> Mean:
    """The mean of the values that are numbers, with its confidence interval.

    `key`: what they are the values of. With the names of a variant and a metric it is the interval of `describe`.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return Mean(np.nan, np.nan, np.nan, 0)
    if len(known) == 1:
        return Mean(float(known[0]), np.nan, np.nan, 1)
    return Mean(float(known.mean()), *mean_interval(known, key, _CONFIDENCE), len(known))


def values_of(result: StudyResult, metric: str) -> pl.DataFrame:
    """The done runs, as in `runs`, with `value`: the metric, null where a run has none."""
    values = result.metrics.filter(pl.col("metric") == metric).select("run", pl.col("value").fill_nan(None))
    return result.runs.filter(pl.col("state") == "done").join(values, on="run", how="left", maintain_order="left")


def values_by_variant(result: StudyResult, metric: str) -> list[Floats]:
    """The metric's values for each variant, in their order."""
    values = values_of(result, metric)
    return [
        values.filter(pl.col("variant") == variant)["value"].drop_nulls().cast(pl.Float64).to_numpy()
        for variant in result.variants
    ]


def is_larger_better(result: StudyResult, metric: str, otherwise: bool) -> bool:
    """Which way the study wants a metric; `otherwise` if it is none of the study's."""
    return next((each.larger_is_better for each in result.study.compared if each.name == metric), otherwise)


def lacking(result: StudyResult) -> str:
    """How many runs have come to nothing, in words; empty if none."""
    counts = result.runs.filter(pl.col("state") != "done").group_by("state").len().sort("state")
    return ", ".join(f"{number} {state}" for state, number in counts.iter_rows())
