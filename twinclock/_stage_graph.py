"""The stage graph of a run, each stage coloured by the time that was spent in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from twinclock._chart import duration, shows_itself
from twinclock.explain.places import graph_of
from twinclock.graph import stages
from twinclock.picture import draw
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TIMES = re.compile(r"#\d+|@\d+")
_ITEM = re.compile(r"\[\d+\]")


def draw_stage_graph(run: Run) -> Figure:
    """The picture. RunError if the graph in the run's folder can't be read."""
    root = graph_of(run)
    ids = run.stage_runs.select("id", (pl.col("ended_s") - pl.col("started_s")).alias("seconds"))
    known = {path for path, _ in stages(root)}
    spent: dict[str, float] = {}
    for id_, seconds in ids.iter_rows():
        path = path_of(id_)
        if path in known and seconds is not None:
            spent[path] = spent.get(path, 0.0) + seconds
    told = f"{duration(sum(spent.values()))} in all stages together" if spent else "no stage run has ended"
    return shows_itself(draw(root, time_spent=spent, title=f"{run.name}: {told}"))


def path_of(id_: str) -> str:
    """The path of a stage in the graph, from the id of one of its runs: without visits, items and attempts."""
    return _ITEM.sub("[]", _TIMES.sub("", id_))
