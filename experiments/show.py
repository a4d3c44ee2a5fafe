"""What came of a study, for a terminal or a notebook: each variant's figures, which runs are not done, the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.metric_names import figure_text
from experiments.results import StudyResult
from experiments.statistics import verdict
from twinclock.notebook_html import html_box, html_lines, html_row, html_table

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
    for variant, *cells in _rows(made):
        table.add_row(Text(variant), *cells)
    if study.question:
        console.print(Text(study.question))
    console.print(table)
    for line in unfinished_lines(made):
        console.print(Text(line))
    for sentence in verdict(made):
        console.print(Text(f"- {sentence}"))
    console.print(Text(f"folder: {made.folder}"))


def study_html(made: StudyResult) -> str:
    """The same as a small table for a notebook; it takes its colours from the page."""
    study = made.study
    heading = html_row(["variant", "runs", *(metric.name for metric in study.compared)], "th")
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in verdict(made))
    return html_box(
        study.name,
        f" {escape(study.question)}",
        html_table(heading, *map(html_row, _rows(made))),
        html_lines(unfinished_lines(made)),
        f'<ul style="margin:0.3em 0">{sentences}</ul>',
    )


def _rows(made: StudyResult) -> Iterator[list[str]]:
    """Each variant, how many of its runs are done, and the mean of each metric over these."""
    for variant in made.variants:
        runs = made.wide.filter(pl.col("variant") == variant)
        yield [variant, str(runs.height), *(_mean(runs, metric.name) for metric in made.study.compared)]


def unfinished_lines(made: StudyResult) -> list[str]:
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
    return figure_text(float(values.mean()) if values.size else None)
