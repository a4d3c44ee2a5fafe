"""What each variant came to: mean, spread and confidence interval of every metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from experiments.results import StudyResult
from experiments.statistics.intervals import mean_intervals
from experiments.statistics.observations import Floats, metric_names, observed
from experiments.statistics.significance import seeds_needed

SCHEMA = {
    "variant": pl.String,
    "metric": pl.String,
    "num_seeds": pl.Int64,
    "mean": pl.Float64,
    "std": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "note": pl.String,
}


def describe(result: StudyResult, *, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> pl.DataFrame:
    """One row a variant and metric, in the study's order; of all metrics that a run has if none are named.

    `num_seeds`: runs that are done and have a finite value; the rest counts only them. `std`: with n − 1. `low`,
    `high`: the confidence interval of the mean (`mean_intervals`). From one seed there is neither, and nothing at all
    from none; `note` says so, and what else to know of the interval. Raises ConfigError for an unknown metric.
    """
    names = metric_names(result) if metrics is None else metrics
    tables = {name: observed(result, name) for name in names}
    rows: Iterator[dict[str, Any]] = (
        {"variant": variant, "metric": name, **_described(tables[name].of(variant), (variant, name), confidence)}
        for variant in result.variants
        for name in names
    )
    return pl.DataFrame(list(rows), schema=SCHEMA)


def mean_interval(values: Floats, key: tuple[str, ...], confidence: float) -> tuple[float, float]:
    """The confidence interval of the mean of two values or more; with the same key, the same for the same values."""
    low, high = mean_intervals(values[None, :], ("describe", *key), confidence)
    return float(low[0]), float(high[0])


def _described(values: Floats, key: tuple[str, str], confidence: float) -> dict[str, Any]:
    num_seeds = len(values)
    if num_seeds == 0:
        return {"num_seeds": 0, "note": "no value"}
    if num_seeds == 1:
        return {"num_seeds": 1, "mean": float(values[0]), "note": "one seed: no interval"}
    low, high = mean_interval(values, key, confidence)
    mean, std = (low, 0.0) if np.ptp(values) == 0.0 else (float(values.mean()), float(np.std(values, ddof=1)))
    return {"num_seeds": num_seeds, "mean": mean, "std": std, "low": low, "high": high} | {
        "note": _note(std, num_seeds, confidence)
    }


def _note(std: float, num_seeds: int, confidence: float) -> str | None:
    if std == 0.0:
        return "the same in all seeds"
    if num_seeds < seeds_needed(1, 1.0 - confidence):
        return "few seeds: the interval is narrower than its confidence"
    return None
