"""What came of a search: its trials, those that nothing beats, and how the chosen ones did for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from experiments.results import level_column, write_table
from experiments.search.goals import Goals, is_on_front
from experiments.search.trials import Ended
from experiments.study import Study
from experiments.variants import axis_columns

TRIALS_FILE = "trials.parquet"
CONFIRMED_FILE = "confirmed.parquet"
CONFIRMED_SCHEMA = {
    "number": pl.Int64,
    "variant": pl.String,
    "seed": pl.Int64,
    "run": pl.String,
    "state": pl.String,
    "error": pl.String,
    "metric": pl.String,
    "simulated": pl.Float64,
    "real": pl.Float64,
}
REGRET_SCHEMA = {
    "metric": pl.String,
    "chosen": pl.String,
    "chosen_real": pl.Float64,
    "best": pl.String,
    "best_real": pl.Float64,
    "regret": pl.Float64,
}


@dataclass(frozen=True)
class SearchResult:
    """What came of a search, as far as it went."""

    study: Study
    goals: Goals
    """What was searched for: `objectives`, and `at_most` by metric."""
    trials: pl.DataFrame
    """One row for each trial.

    Columns: `number` (from 0), `state` (`done`, `pruned`, `infeasible`: a bound was exceeded, `failed`), `error`,
    `variant`, one for each axis (its level; null where the axis does not apply), one for each figure of a run (the mean
    over the seeds; null if a run has none, or the trial was pruned or failed), those that were searched for first.
    """
    folder: Path
    confirmed: pl.DataFrame | None = None
    """One row for each variant that was run for real, and each metric that was searched for.

    Columns: `number` (of the trial), `variant`, `seed`, `run` (id), `state`, `error`, `metric`, `simulated` (the mean
    over the seeds, as it was chosen by), `real` (null unless done). None if nothing was confirmed.
    """

    @cached_property
    def front(self) -> pl.DataFrame:
        """The trials that no other beats: the rows of `trials`, best first in the first objective."""
        done = self.trials.filter(pl.col("state") == "done")
        if done.is_empty():
            return done
        kept = done.filter(pl.Series(is_on_front(self.goals.losses(done.iter_rows(named=True)))))
        first = self.goals.objectives[0]
        return kept.sort(first.name, "number", descending=[first.larger_is_better, False])

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of `trials` that is best in the first objective; None if no trial is done."""
        return self.front.row(0, named=True) if self.front.height else None

    @cached_property
    def regret(self) -> pl.DataFrame | None:
        """What trusting the simulation cost, for each objective: null where a run for real is not done.

        Columns: `metric`, `chosen` (the confirmed variant that is best in the simulation), `chosen_real`, `best` (the
        one that is best for real), `best_real`, `regret` (how much worse the chosen one is, never below 0).
        """
        if self.confirmed is None:
            return None
        rows = [_regret(self.confirmed, each.name, each.larger_is_better) for each in self.goals.objectives]
        return pl.DataFrame(rows, schema=REGRET_SCHEMA)

    @property
    def counts(self) -> dict[str, int]:
        """State → how many trials have it."""
        return dict(self.trials.group_by("state", maintain_order=True).len().iter_rows())

    def write(self) -> None:
        """Leave `trials.parquet`, and `confirmed.parquet` if something was, each whole or as it was before."""
        write_table(self.trials, self.folder / TRIALS_FILE)
        if self.confirmed is not None:
            write_table(self.confirmed, self.folder / CONFIRMED_FILE)

    def _repr_html_(self) -> str:
        columns = ["number", "variant", *axis_columns(self.study), *self.goals.names]
        html: str = self.front.select(each for each in columns if each in self.front.columns)._repr_html_()
        return html


def collect(study: Study, goals: Goals, trials: Sequence[Ended], folder: Path) -> SearchResult:
    """The frame of the trials so far."""
    axes = axis_columns(study)
    found = dict.fromkeys(name for each in trials for name in each.figures if name not in axes)
    metrics = list(dict.fromkeys([*goals.names, *found]))
    frame = pl.DataFrame(
        {
            "number": pl.Series(range(len(trials)), dtype=pl.Int64),
            "state": pl.Series([each.state for each in trials], dtype=pl.String),
            "error": pl.Series([each.error for each in trials], dtype=pl.String),
            "variant": pl.Series([each.variant.label for each in trials], dtype=pl.String),
            **{name: level_column(name, [each.variant.levels.get(name) for each in trials]) for name in axes},
            **{name: pl.Series([each.figures.get(name) for each in trials], dtype=pl.Float64) for name in metrics},
        }
    )
    return SearchResult(study, goals, frame, folder)


def _regret(confirmed: pl.DataFrame, metric: str, larger_is_better: bool) -> dict[str, Any]:
    rows = confirmed.filter(pl.col("metric") == metric).drop_nulls("simulated")
    chosen = rows.sort("simulated", descending=larger_is_better, maintain_order=True).head(1).to_dicts()
    known = rows.drop_nulls("real").sort("real", descending=larger_is_better, maintain_order=True).head(1).to_dicts()
    row: dict[str, Any] = {"metric": metric}
    if chosen:
        row |= {"chosen": chosen[0]["variant"], "chosen_real": chosen[0]["real"]}
    if known:
        row |= {"best": known[0]["variant"], "best_real": known[0]["real"]}
    if known and row["chosen_real"] is not None:
        row["regret"] = abs(row["best_real"] - row["chosen_real"])
    return row
