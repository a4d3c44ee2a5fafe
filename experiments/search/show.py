"""What came of a search, as text: the front, how many trials were left out, and the regret if it was confirmed."""

from __future__ import annotations

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.metric_names import figure_text
from experiments.search.results import SearchResult

_NAMED = 10
"""Kinds of failures, as many as are named."""


def show_search(made: SearchResult, console: Console) -> None:
    """Print a search: a line for each trial on the front, best first in the first objective."""
    if made.study.question:
        console.print(Text(made.study.question))
    console.print(_front(made))
    counts = ", ".join(f"{num} {state}" for state, num in made.counts.items())
    console.print(Text(f"{made.trials.height} trials: {counts}; {made.front.height} on the front"))
    for line in _failures(made):
        console.print(Text(line))
    if made.confirmed is not None and made.regret is not None:
        console.print(_confirmed(made.confirmed))
        console.print(_regret(made.regret))
    console.print(Text(f"folder: {made.folder}"))


def _front(made: SearchResult) -> Table:
    table = _table(f"{made.study.name}: no other trial beats these", "trial", "variant", *made.goals.names)
    for row in made.front.iter_rows(named=True):
        cells = [figure_text(row[name]) for name in made.goals.names]
        table.add_row(str(row["number"]), Text(row["variant"]), *cells)
    return table


def _confirmed(confirmed: pl.DataFrame) -> Table:
    table = _table("For real", "trial", "variant", "metric", "simulated", "real")
    for row in confirmed.iter_rows(named=True):
        real = figure_text(row["real"]) if row["state"] == "done" else f"{row['state']}: {row['error']}"
        table.add_row(
            str(row["number"]), Text(row["variant"]), row["metric"], figure_text(row["simulated"]), Text(real)
        )
    return table


def _regret(regret: pl.DataFrame) -> Table:
    columns = ("metric", "chosen by the simulation", "real", "best for real", "real", "regret")
    table = _table("What trusting the simulation cost", *columns)
    for row in regret.iter_rows(named=True):
        chosen, best = (Text(row[which] or "-") for which in ("chosen", "best"))
        numbers = [figure_text(row[name]) for name in ("chosen_real", "best_real", "regret")]
        table.add_row(row["metric"], chosen, numbers[0], best, numbers[1], numbers[2])
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in columns:
        is_text = name in ("variant", "metric", "chosen by the simulation", "best for real")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    return table


def _failures(made: SearchResult) -> list[str]:
    failed = made.trials.filter(pl.col("state") == "failed")
    alike = failed.group_by("error", maintain_order=True).agg("number", pl.col("variant").first()).to_dicts()
    lines = [f"{_which(each['number'])}, {each['variant']}: {each['error']}" for each in alike[:_NAMED]]
    more = sum(len(each["number"]) for each in alike[_NAMED:])
    return [*lines, *([f"and {more} more trials that failed"] if more else [])]


def _which(numbers: list[int]) -> str:
    return f"trial {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} trials, the first {numbers[0]}"
