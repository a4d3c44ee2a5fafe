"""The accuracy of several policies over data time, and when each of them triggered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

import twinclock as tc
from experiments.plots.look import Look, looks
from experiments.plots.rows import name_row, names_of, note_row
from twinclock._accuracy import step_points
from twinclock._chart import (
    BOTTOM,
    HEIGHT,
    chart_width_px,
    legend,
    new_panels,
    note,
    nothing,
    spread,
    style,
)
from twinclock._data_time import data_time_axis
from twinclock.summary import composite_scores, data_span

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_ROW = 0.27
"""Inches of a row of trigger marks, and of a row of the legend."""
_NUM_MARKERS = 9


def accuracy_by_policy(runs: Mapping[str, tc.Run]) -> Figure:
    """Accuracy of the active model over data time for each policy, above a row of marks of its triggers.

    `runs`: policy → run. A trigger is marked at the data time of its last sample; one without samples is not.
    """
    with style():
        return _drawn(runs)


def _drawn(runs: Mapping[str, tc.Run]) -> Figure:
    title = "Accuracy of the active model by policy"
    spans = [span for run in runs.values() if (span := data_span(run.tables)) is not None]
    if not spans:
        return nothing(title, names_of(runs), "Nothing to show: no run has taken in any data.")
    scored = {label: _scores(run) for label, run in runs.items()}
    first = min([span[0] for span in spans] + [float(s["start_ts"][0]) for s in scored.values() if s.height])
    last = max([span[1] for span in spans] + [float(s["end_ts"].to_numpy().max()) for s in scored.values() if s.height])
    last = last if last > first else first + 1.0
    bottom = BOTTOM + _ROW * max(0, -(-len(runs) // _COLUMNS) - 2)
    rows = 0.35 + _ROW * len(runs)
    height = max(HEIGHT, 6.5 + bottom + rows - BOTTOM)
    share = rows / (height - bottom - 1.05 - 0.35 - rows)
    figure, (above, below) = new_panels(title, names_of(runs), (1.0, share), height=height, bottom=bottom)
    unit_s = data_time_axis(below, first, last)
    keys: dict[str, Artist] = {}
    for label, look in looks(runs).items():
        value = runs[label].summary["accuracy"]
        keys[f"{label}: no accuracy" if value is None else f"{label}: mean {value:.3f}"] = look.key()
        if scored[label].height:
            _line(above, scored[label], look, unit_s, len(above.get_lines()))
    if not above.get_lines():
        above.set_ylim(0.0, 1.0)
        note(above, "No accuracy: no run has a score of its active model (see the picture of one run for why).")
    above.set_ylabel("accuracy")
    above.margins(y=0.06)
    above.grid(axis="y", color="#dddddd", linewidth=0.8)
    _trigger_rows(below, runs, first, last, unit_s)
    legend(figure, keys, num_columns=_COLUMNS)
    return figure


def _scores(run: tc.Run) -> pl.DataFrame:
    scores = composite_scores(run.config, run.tables, "active", "accuracy")
    return scores.filter(pl.col("value").is_not_null())


def _line(axes: Axes, known: pl.DataFrame, look: Look, unit_s: float, number: int) -> None:
    """The levels; markers are few, and not where those of others are."""
    x, y = step_points(known)
    axes.plot(x / unit_s, y, color=look.color, linestyle=look.dash, linewidth=2.0, zorder=3)
    middles = (known["start_ts"] + known["end_ts"]).to_numpy() / 2 / unit_s
    every = max(1, len(middles) // _NUM_MARKERS)
    which = np.arange(number * max(1, every // 3) % every, len(middles), every)
    axes.plot(
        middles[which], known["value"].to_numpy()[which], color=look.color, marker=look.marker, markersize=7,
        linestyle="none", markeredgecolor="white", markeredgewidth=0.8, zorder=4,
    )  # fmt: skip


def _trigger_rows(axes: Axes, runs: Mapping[str, tc.Run], first: float, last: float, unit_s: float) -> None:
    for row, (label, look) in enumerate(looks(runs).items()):
        triggers = runs[label].triggers
        at_ts = triggers["last_ts"].drop_nulls().sort().to_numpy()
        # as many as there are places for one: a line more on the same pixel is not seen
        seen = at_ts[spread((at_ts - first) / (last - first) * chart_width_px(), 0.5)] / unit_s
        axes.vlines(seen, row + 0.15, row + 0.85, color=look.color, linewidth=1.6)
        name_row(axes, row + 0.5, label, look)
        note_row(axes, row + 0.5, f"{triggers.height:,} trigger" + "s" * (triggers.height != 1))
    axes.set_ylim(len(runs), 0.0)
    axes.set_yticks([])
