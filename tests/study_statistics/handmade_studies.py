"""Results of studies made by hand, with the values that a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from experiments.results import StudyResult
from experiments.study import load_study

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
            runs.append((run, variant, seed, state, None if state == "done" else "broken"))
            if state == "done":
                rows += [(run, metric, column[seed]) for metric, column in by_metric.items() if seed < len(column)]
    return StudyResult(
        load_study({"name": "hand", "base": {}, "metrics": list(metrics)}),
        pl.DataFrame(
            runs,
            schema={"run": pl.String, "variant": pl.String, "seed": pl.Int64, "state": pl.String, "error": pl.String},
            orient="row",
        ),
        pl.DataFrame(rows, schema={"run": pl.String, "metric": pl.String, "value": pl.Float64}, orient="row"),
    )
