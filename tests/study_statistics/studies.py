"""Handmade results of studies, with the values that a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Metric:
    name: str
    larger_is_better: bool


@dataclass(frozen=True)
class Study:
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class StudyResult:
    study: Study
    variants: tuple[str, ...]
    runs: pl.DataFrame
    metrics: pl.DataFrame


Values = Mapping[str, Mapping[str, Sequence[float | None]]]


def study(
    values: Values,
    metrics: Sequence[str] = ("accuracy", "-device_s"),
    states: Mapping[tuple[str, int], str] | None = None,
) -> StudyResult:
    """Variant → metric → values for the seeds 0, 1, …; a leading minus of a metric: less is better.

    `states`: of runs that are not done; those have no values.
    """
    states = states or {}
    runs, rows = [], []
    for variant, by_metric in values.items():
        for seed in range(max(map(len, by_metric.values()), default=0)):
            run, state = f"{variant}-{seed}", states.get((variant, seed), "done")
            error = None if state == "done" else "broken"
            runs.append({"run": run, "variant": variant, "seed": seed, "state": state, "error": error})
            if state == "done":
                rows += [
                    {"run": run, "metric": metric, "value": column[seed]}
                    for metric, column in by_metric.items()
                    if seed < len(column)
                ]
    asked = tuple(Metric(name.removeprefix("-"), not name.startswith("-")) for name in metrics)
    return StudyResult(
        Study(asked),
        tuple(values),
        pl.DataFrame(
            runs,
            schema={"run": pl.String, "variant": pl.String, "seed": pl.Int64, "state": pl.String, "error": pl.String},
        ),
        pl.DataFrame(rows, schema={"run": pl.String, "metric": pl.String, "value": pl.Float64}),
    )
