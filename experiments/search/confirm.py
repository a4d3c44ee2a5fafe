"""Running the variants that a search chose for real, to see whether the simulation chose well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from experiments.progress import ProgressWatcher
from experiments.results import PlannedRun, jobs, plan_variants
from experiments.search.bench import Bench
from experiments.search.results import CONFIRMED_SCHEMA, SearchResult
from experiments.search.trials import Ended
from experiments.sweep import is_done

REAL = "real"
"""The executor that confirms."""


def confirmed(
    found: SearchResult, trials: Sequence[Ended], bench: Bench, num: int, watcher: ProgressWatcher
) -> SearchResult:
    """The result with so many variants of its front performed for real, with the study's first seed.

    They are spread evenly over the front in the order of the first objective, its best always among them, and for two
    or more its worst too. A run that was begun goes on, one that is done is not done again, one that fails says why.
    """
    rows = _spread(found.front, num).to_dicts()
    study = found.study.model_copy(update={"on": REAL})
    variants = [trials[row["number"]].variant for row in rows]
    planned = plan_variants(study, variants, study.all_seeds[:1])
    wanted = jobs(study, planned, found.folder)
    watcher.begin("real runs", len(planned), sum(is_done(bench.results.get(job.run)) for job in wanted))
    for job in bench.perform(wanted):
        result = bench.results[job.run]
        watcher.ended(job.label, result.state, result.error)
    table = [
        {**_told(bench, run), "number": row["number"], "metric": name, "simulated": row[name], "real": real}
        for row, run in zip(rows, planned, strict=True)
        for name, real in _figures(bench, run, found.goals.names).items()
    ]
    return replace(found, confirmed=pl.DataFrame(table, schema=CONFIRMED_SCHEMA))


def _spread(front: pl.DataFrame, num: int) -> pl.DataFrame:
    """So many rows, evenly, both ends included; all if there are no more."""
    positions = np.linspace(0, front.height - 1, min(num, front.height)).round().astype(int)
    return front[sorted(positions.tolist())]


def _told(bench: Bench, run: PlannedRun) -> dict[str, Any]:
    result = bench.results.get(run.run)
    state, error = ("failed", run.error) if result is None else (result.state, result.error)
    return {"variant": run.variant.label, "seed": run.seed, "run": run.run, "state": state, "error": error}


def _figures(bench: Bench, run: PlannedRun, names: Sequence[str]) -> dict[str, float | None]:
    result = bench.results.get(run.run)
    return {name: None if result is None else result.figures.get(name) for name in names}
