"""Regret: what a variant gives away against the best that could have been chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from experiments.results import StudyResult
from experiments.statistics.intervals import mean_intervals
from experiments.statistics.observations import Floats, observed, without_rounding
from experiments.study import Metric
from twinclock.errors import ConfigError

HINDSIGHT = "best of each seed"
"""What the column `against` says for the best variant of each seed, known only afterwards."""
SCHEMA = {
    "metric": pl.String,
    "variant": pl.String,
    "against": pl.String,
    "num_seeds": pl.Int64,
    "regret": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "share_without": pl.Float64,
}


def regret(result: StudyResult, metric: str, *, oracle: str | None = None, confidence: float = 0.95) -> pl.DataFrame:
    """One row a variant and what it is held against, in the study's order: how much worse it is, in the metric's unit.

    `against`: `HINDSIGHT`, the best variant of each seed, chosen for that seed afterwards; and the variant `oracle`, if
    one is named. `regret`: the mean over the seeds that both have of best − own where more is better, else own − best;
    `low`, `high` its confidence interval, null from one seed. Against the best of each seed it is never
    negative, and above 0 by luck alone if variants are equal; against an oracle it may be negative. `share_without`:
    the share of the seeds without any regret. Raises ConfigError for a metric that the study doesn't ask for, because
    its direction is not known, or for an unknown oracle.
    """
    direction = _metric_of_study(result, metric)
    table = observed(result, metric)
    if oracle is not None and oracle not in table.variants:
        raise ConfigError(f"oracle: got {oracle!r}, expected one of the variants: {', '.join(table.variants)}")
    gains = table.values if direction.larger_is_better else -table.values
    against = {HINDSIGHT: np.fmax.reduce(gains, axis=0, initial=-np.inf)}
    if oracle is not None:
        against[oracle] = gains[table.variants.index(oracle)]
    rows: Iterator[dict[str, Any]] = (
        {
            "metric": metric,
            "variant": variant,
            "against": name,
            **_regret(best, gains[number], ("regret", metric, variant, name), confidence),
        }
        for number, variant in enumerate(table.variants)
        for name, best in against.items()
    )
    return pl.DataFrame(list(rows), schema=SCHEMA)


def _metric_of_study(result: StudyResult, name: str) -> Metric:
    for metric in result.study.compared:
        if metric.name == name:
            return metric
    names = ", ".join(metric.name for metric in result.study.compared)
    raise ConfigError(f"metric: got {name!r}, expected one that the study asks for: {names}")


def _regret(best: Floats, own: Floats, key: tuple[str, ...], confidence: float) -> dict[str, Any]:
    both = np.isfinite(best) & np.isfinite(own)
    num_seeds = int(both.sum())
    if num_seeds == 0:
        return {"num_seeds": 0}
    scale = np.maximum(np.abs(best[both]), np.abs(own[both])).max()
    regrets = without_rounding(best[both] - own[both], scale)
    found = {
        "num_seeds": num_seeds,
        "regret": float(regrets.mean()),
        "share_without": float((regrets <= 0.0).mean()),
    }
    if num_seeds == 1:
        return found
    low, high = mean_intervals(regrets[None, :], key, confidence)
    return {**found, "low": float(low[0]), "high": float(high[0])}
