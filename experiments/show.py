"""What came of a study, as text: each variant's figures, and which runs are not done."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.results import StudyResult
from experiments.statistics import verdict

_NAMED = 10
"""Variants with runs that are not done, as many as are named."""


def show_study(made: StudyResult, console: Console) -> None:
    """Print a study: a line for each variant, with the mean of each metric over the seeds that are done."""
    study = made.study
    table = Table(title=study.name, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("variant", overflow="fold")
    table.add_column("runs", justify="right")
    names = [metric.name for metric in study.compared]
    for name in names:
        table.add_column(name, justify="right")
    for variant in made.variants:
        runs = made.wide.filter(pl.col("variant") == variant)
        cells = [_mean(runs, name) for name in names]
        table.add_row(Text(variant), str(runs.height), *cells)
    if study.question:
        console.print(Text(study.question))
    console.print(table)
    for line in _unfinished(made):
        console.print(Text(line))
    for sentence in verdict(made):
        console.print(Text(f"- {sentence}"))
    console.print(Text(f"folder: {made.folder}"))


def _unfinished(made: StudyResult) -> list[str]:
    """A line for each variant and reason, and how many more there are."""
    alike = made.unfinished.group_by("variant", "state", "error", maintain_order=True).agg("seed").to_dicts()
    lines = [f"{_runs(each)}: {each['state']}: {each['error'] or 'not run yet'}" for each in alike[:_NAMED]]
    more = sum(len(each["seed"]) for each in alike[_NAMED:])
    return [*lines, *([f"and {more} more runs that are not done"] if more else [])]


def _runs(alike: dict[str, Any]) -> str:
    seeds = alike["seed"]
    return f"{alike['variant']}, " + (f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds")


def _mean(runs: pl.DataFrame, metric: str) -> str:
    values = runs[metric].drop_nulls().to_numpy() if metric in runs.columns else np.array([])
    return f"{values.mean():,.4g}" if values.size else "-"
