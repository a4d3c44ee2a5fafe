"""What the statistics look at: the values of one metric, by variant and seed, and random numbers that never change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.results import StudyResult
from twinclock.errors import ConfigError

Floats = NDArray[np.float64]

_DIGITS = 12
"""Significant digits of a value that count; what is below is the rounding of sums, not a difference."""
_LARGEST = 290
"""Exponent of a factor that can't make a number of that many digits overflow."""


@dataclass(frozen=True)
class Observed:
    """The values of one metric in the runs that are done."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    """Those that any variant has, increasing."""
    values: Floats
    """One row a variant, one column a seed; NaN where there is no run, or where it has no finite value."""

    def of(self, variant: str) -> Floats:
        """The values of one variant, in the order of its seeds."""
        row = self.values[self.variants.index(variant)]
        return np.asarray(row[np.isfinite(row)])


def metric_names(result: StudyResult) -> tuple[str, ...]:
    """Every metric that a run of the study has: those of the study first, the others by name."""
    asked = [metric.name for metric in result.study.compared]
    return tuple(dict.fromkeys([*asked, *result.metrics["metric"].unique().sort().to_list()]))


def observed(result: StudyResult, metric: str) -> Observed:
    """The values of one metric. Raises ConfigError if no run of the study could have it."""
    if metric not in (names := metric_names(result)):
        raise ConfigError(f"metric: got {metric!r}, expected one of the study's: {', '.join(names)}")
    variants = tuple(result.variants)
    values = result.metrics.filter(pl.col("metric") == metric).select("run", pl.col("value").cast(pl.Float64))
    done = result.runs.filter(pl.col("state") == "done").select("run", "variant", "seed")
    found = done.join(values, on="run").filter(pl.col("value").is_finite(), pl.col("variant").is_in(variants))
    seeds = tuple(found["seed"].unique().sort().to_list())
    table = np.full((len(variants), len(seeds)), np.nan)
    rows, columns = ({each: number for number, each in enumerate(keys)} for keys in (variants, seeds))
    for variant, seed, value in found.select("variant", "seed", "value").iter_rows():
        table[rows[variant], columns[seed]] = value
    return Observed(variants, seeds, table)


def without_rounding(values: Floats, scale: Floats) -> Floats:
    """Values without the digits that are only the rounding of numbers as large as `scale`.

    Sums that were taken in another order differ in their last digits; without this they would be differences, and
    equal ranks would not be ties.
    """
    exponent = np.floor(np.log10(np.where(scale > 0.0, scale, 1.0)))
    unit = 10.0 ** np.clip(_DIGITS - exponent, -_LARGEST, _LARGEST)
    return np.asarray(np.round(values * unit) / unit + 0.0)


def generator(*key: str) -> np.random.Generator:
    """Random numbers for one purpose: the same in every process, whatever was drawn before for others."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
