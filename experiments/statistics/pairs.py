"""Every pair of variants on the seeds that both have: how far apart they are, and whether that was shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.results import StudyResult
from experiments.statistics.intervals import NUM_RESAMPLES, mean_intervals, ratio_intervals
from experiments.statistics.observations import Floats, Observed, observed, without_rounding
from experiments.statistics.significance import holm, rank_biserial, seeds_needed, sign_flip_p_values, smallest_p
from twinclock.policies.metrics import find_metric

SCHEMA = {
    "metric": pl.String,
    "variant": pl.String,
    "other": pl.String,
    "num_seeds": pl.Int64,
    "mean": pl.Float64,
    "other_mean": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "ratio": pl.Float64,
    "ratio_low": pl.Float64,
    "ratio_high": pl.Float64,
    "effect": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "smallest_p_holm": pl.Float64,
    "margin": pl.Float64,
    "relation": pl.String,
}
RELATIONS = {
    "higher": "the variant's mean is the higher one: p_holm is below 1 − confidence, and the interval excludes 0",
    "lower": "likewise, the lower one",
    "equal": "the whole interval of the difference lies within ±margin",
    "identical": "there is no difference in any seed, of which there are at least two",
    "not shown": "neither a difference nor equality was shown",
    "too few seeds": "as before, and with so many seeds and pairs no p_holm could have been below 1 − confidence",
    "one seed": "one seed in common says nothing",
    "no seed": "no seed in common",
}
"""What the column `relation` can say, and what that means."""

Bools = NDArray[np.bool_]

_SCORE_MARGIN = 0.01
_RELATIVE_MARGIN = 0.01
_COMPOSED = ("active_", "trained_", "served_")
_SHARES = ("utilisation",)
_DECIMALS = 12
"""Of a level, for 1 − 0.95 is not 0.05."""


def compare_pairs(
    result: StudyResult,
    metric: str,
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> pl.DataFrame:
    """One row a pair of variants, in the study's order; everything in it is about the seeds that both have.

    `difference`: of the means, `variant` − `other`, with the ends `low` and `high` of its confidence interval
    (`mean_intervals` of the paired differences). `ratio`: of the means, with its interval; null unless all values are
    positive. `effect`: `rank_biserial` of the differences. `p`: `sign_flip_p_values`; `p_holm`: corrected for all
    pairs that have a p (`holm`); `smallest_p_holm`: what it would be if each of them had the smallest p that its seeds
    allow. `relation`: one of `RELATIONS`. The intervals are not corrected: each has its confidence for itself.

    `margin`: differences up to here don't matter, in the metric's unit. None: 0.01 for scores and shares, which are at
    most 1; for all others 1 % of the mean of both. Raises ConfigError for an unknown metric.
    """
    table = observed(result, metric)
    pairs = list(combinations(range(len(table.variants)), 2))
    num_tests = sum(int(_common(table, pair).sum() >= 2) for pair in pairs)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for common, members in _by_seeds(table, pairs):
        compared = _compared(table.values[:, common], members, metric, confidence, num_tests, num_resamples)
        found.update(zip(members, compared, strict=True))
    rows = [
        {"metric": metric, "variant": table.variants[one], "other": table.variants[two], **found[one, two]}
        for one, two in pairs
    ]
    tested = [row for row in rows if row["num_seeds"] >= 2]
    p_holm = holm(np.array([row["p"] for row in tested]))
    smallest = holm(np.array([smallest_p(row["num_seeds"], num_tests) for row in tested]))
    for number, row in enumerate(tested):
        row |= {"p_holm": float(p_holm[number]), "smallest_p_holm": float(smallest[number])}
    level = round(1.0 - confidence, _DECIMALS)
    for row in rows:
        row["margin"] = _usual_margin(metric, row) if margin is None else margin
        row["relation"] = _relation(row, level)
    return pl.DataFrame(rows, schema=SCHEMA)


def is_score(metric: str) -> bool:
    """Whether a metric is at most 1 by what it is, such as accuracy, so that absolute differences are what matters."""
    bare = next((metric.removeprefix(each) for each in _COMPOSED if metric.startswith(each)), metric)
    known = find_metric(bare)
    return metric in _SHARES or (known is not None and known.best == 1.0)


def _common(table: Observed, pair: tuple[int, int]) -> Bools:
    return np.asarray(np.isfinite(table.values[list(pair)]).all(axis=0))


def _by_seeds(table: Observed, pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[Bools, list[tuple[int, int]]]]:
    """Pairs that have the same seeds in common are worked on together."""
    groups: dict[bytes, list[tuple[int, int]]] = {}
    for pair in pairs:
        groups.setdefault(_common(table, pair).tobytes(), []).append(pair)
    for mask, members in groups.items():
        yield np.frombuffer(mask, dtype=np.bool_), members


def _compared(
    values: Floats,
    pairs: Sequence[tuple[int, int]],
    metric: str,
    confidence: float,
    num_tests: int,
    num_resamples: int,
) -> Iterator[dict[str, Any]]:
    """What stands in the columns that don't depend on other pairs; `values` has the common seeds only."""
    num_seeds = values.shape[1]
    if num_seeds == 0:
        yield from ({"num_seeds": 0} for _ in pairs)
        return
    one, two = (values[[pair[side] for pair in pairs]] for side in (0, 1))
    scale = np.maximum(np.abs(one), np.abs(two)).max(axis=1, keepdims=True)
    differences = without_rounding(one - two, scale)
    means = {"mean": one.mean(axis=1), "other_mean": two.mean(axis=1), "difference": differences.mean(axis=1)}
    columns = {**means, **_ratios(one, two, metric, confidence, num_resamples)}
    if num_seeds >= 2:
        key = ("pairs", metric)
        low, high = mean_intervals(differences, key, confidence, num_resamples)
        columns |= {
            "low": low,
            "high": high,
            "effect": np.array([rank_biserial(row) for row in differences]),
            "p": sign_flip_p_values(differences, key, num_tests),
        }
    for number in range(len(pairs)):
        numbers = {name: float(column[number]) for name, column in columns.items()}
        yield {"num_seeds": num_seeds, **{name: None if np.isnan(each) else each for name, each in numbers.items()}}


def _ratios(one: Floats, two: Floats, metric: str, confidence: float, num_resamples: int) -> dict[str, Floats]:
    """NaN where a ratio has no meaning; from one seed it has no interval."""
    positive = (one > 0.0).all(axis=1) & (two > 0.0).all(axis=1)
    ratio, low, high = (np.full(len(one), np.nan) for _ in range(3))
    if positive.any():
        ratio[positive] = one[positive].mean(axis=1) / two[positive].mean(axis=1)
        if one.shape[1] >= 2:
            key = ("ratios", metric)
            low[positive], high[positive] = ratio_intervals(
                one[positive], two[positive], key, confidence, num_resamples
            )
    return {"ratio": ratio, "ratio_low": low, "ratio_high": high}


def _usual_margin(metric: str, row: Mapping[str, Any]) -> float | None:
    if is_score(metric):
        return _SCORE_MARGIN
    if row["num_seeds"] == 0:
        return None
    return _RELATIVE_MARGIN * float(abs(row["mean"]) + abs(row["other_mean"])) / 2.0


def _relation(row: Mapping[str, Any], level: float) -> str:
    """One of `RELATIONS`; they are tried in the order of what says most."""
    num_seeds = row["num_seeds"]
    if num_seeds < 2:
        return ("no seed", "one seed")[num_seeds]
    low, high, margin, shown = row["low"], row["high"], row["margin"], row["p_holm"] < level
    if row["effect"] == low == high == 0.0:
        return "identical"
    if -margin <= low and high <= margin and num_seeds >= seeds_needed(1, level):
        return "equal"
    if shown and low > 0.0:
        return "higher"
    if shown and high < 0.0:
        return "lower"
    return "too few seeds" if row["smallest_p_holm"] >= level else "not shown"
