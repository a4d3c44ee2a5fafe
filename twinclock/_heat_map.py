"""Every model on every interval that it was scored on: which were good, for how long, and which was the active one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from twinclock._chart import FAINT, INK, RIGHT, WIDTH, Floats, colour_range, legend, new_chart, nothing, state_of
from twinclock._data_time import data_time_axis
from twinclock.policies.metrics import find_metric
from twinclock.result import Run
from twinclock.summary import scores_of_plan

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

_COLOURS = "cividis"
"""As bright as the number is high, so it can be read in grey, and by those who see fewer colours."""
_NO_SCORE: Mapping[str, Any] = {"facecolor": "#f0f0f0", "edgecolor": "#b5b5b5", "hatch": "xx", "linewidth": 0.0}
_MAX_MODELS = 60
_MAX_INTERVALS = 200
_MAX_GAPS = 30
"""Models up to which there is a gap between the rows."""


class _Rows(NamedTuple):
    """Where the models are, from top to bottom; a row is 1 high."""

    of: Mapping[int, int]
    """Model → row."""
    gap: float

    def top(self, model: int) -> float:
        """The upper end of a model's cells."""
        return self.of[model] + self.gap / 2


class _Table(NamedTuple):
    """What is drawn: columns `model`, `start_ts`, `end_ts`, `value`; and what of it is left out, in words."""

    cells: pl.DataFrame
    remarks: tuple[str, ...]


def draw_heat_map(run: Run, metric: str) -> Figure:
    """The picture; where there are no scores it says why."""
    title = f"{run.name}: {metric} of each model over data time"
    number, scores = _plan_with_most(run, metric)
    if number is None:
        return nothing(title, state_of(run), _why_none(run, metric))
    plan = run.config.evaluation.plans[number]
    active = scores_of_plan(scores, run.tables, plan, "active").filter(pl.col("model").is_not_null())
    table = _legible(scores.select("model", "start_ts", "end_ts", pl.col("value").fill_nan(None)))
    figure, axes = new_chart(title, f"{state_of(run)} · plan {number}: {plan.kind}, models: {plan.models}")
    models = table.cells["model"].unique().sort().to_list()
    rows = _Rows({model: row for row, model in enumerate(models)}, 0.06 if len(models) <= _MAX_GAPS else 0.0)
    bounds = pl.concat([table.cells.select("start_ts", "end_ts"), active.select("start_ts", "end_ts")])
    first, last = float(bounds["start_ts"].to_numpy().min()), float(bounds["end_ts"].to_numpy().max())
    unit_s = data_time_axis(axes, first, last)
    keys: dict[str, Artist] = {}
    _cells(figure, axes, keys, table.cells, rows, unit_s, metric)
    _outlines(axes, keys, active.filter(pl.col("model").is_in(models)), rows, unit_s)
    axes.set_ylim(max(len(models), 4), 0.0)
    every = max(1, -(-len(models) // 30))
    named = range(len(models) - 1, -1, -every)
    axes.set_yticks([row + 0.5 for row in named], [str(models[row]) for row in named])
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("model (its trigger)")
    axes.text(1.0, 1.01, "; ".join(table.remarks), size=9.5, color=FAINT, transform=axes.transAxes, ha="right")
    legend(figure, keys, num_columns=3)
    return figure


def _plan_with_most(run: Run, metric: str) -> tuple[int | None, pl.DataFrame]:
    """The plan that scored the most pairs of a model and an interval, the first of them, and its rows."""
    rows = run.evaluations.filter(pl.col("metric") == metric)
    rows = rows.unique(["plan", "model", "start_ts", "end_ts"], keep="first", maintain_order=True)
    counts = rows.group_by("plan").len().sort(["len", "plan"], descending=[True, False])
    if counts.is_empty():
        return None, rows
    number = int(counts["plan"][0])
    return number, rows.filter(pl.col("plan") == number)


def _why_none(run: Run, metric: str) -> str:
    if not run.config.evaluation.plans:
        return f"No {metric}: the configuration has no evaluation plan (evaluation.plans)."
    if run.models.is_empty():
        return f"No {metric}: no model was stored in this run."
    if run.evaluations.is_empty():
        return f"No {metric}: no evaluation has ended in this run."
    metrics = ", ".join(run.evaluations["metric"].unique().sort().to_list())
    return f"No {metric} was measured; the metrics of this run: {metrics}."


def _legible(scores: pl.DataFrame) -> _Table:
    """No more models and intervals than can be told apart: some of the models, means of neighbouring intervals."""
    remarks = []
    models = scores["model"].unique().sort()
    if (every := -(-len(models) // _MAX_MODELS)) > 1:
        # the newest is always there
        kept = models.reverse().gather_every(every)
        scores = scores.filter(pl.col("model").is_in(kept.to_list()))
        remarks.append(f"{len(kept)} of {len(models)} models, 1 in {every}")
    starts = scores["start_ts"].unique().sort()
    if (every := -(-len(starts) // _MAX_INTERVALS)) > 1:
        group = pl.Series(starts.search_sorted(scores["start_ts"]) // every, dtype=pl.Int64)
        length = pl.col("end_ts") - pl.col("start_ts")
        scored = pl.col("value").is_not_null()
        mean = (pl.col("value") * length).sum() / length.filter(scored).sum()
        scores = (
            scores.with_columns(group.alias("group"))
            .group_by("model", "group", maintain_order=True)
            .agg(pl.col("start_ts").min(), pl.col("end_ts").max(), mean.fill_nan(None).alias("value"))
            .drop("group")
        )
        remarks.append(f"each cell the mean of {every} intervals")
    following = scores.select("model", "start_ts").unique().sort("model", "start_ts")
    following = following.with_columns(pl.col("start_ts").shift(-1).over("model").alias("next_ts"))
    scores = scores.join(following, on=["model", "start_ts"], how="left")
    # neighbours may share a timestamp, which stands for a second
    if (scores["next_ts"] < scores["end_ts"] - 1.0).any():
        remarks.append("intervals overlap: each is shown up to the start of the next")
    # longest first, so that of those that begin together none is hidden
    scores = scores.sort(["model", "start_ts", "end_ts"], descending=[False, False, True])
    return _Table(scores.with_columns(pl.min_horizontal("end_ts", "next_ts").alias("end_ts")), tuple(remarks))


def _cells(
    figure: Figure,
    axes: Axes,
    keys: dict[str, Artist],
    cells: pl.DataFrame,
    rows: _Rows,
    unit_s: float,
    metric: str,
) -> None:
    """Rectangles in the colour of their score, hatched where there is none, and the scale beside them."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    known = cells.filter(pl.col("value").is_not_null())
    none = cells.filter(pl.col("value").is_null())
    if not none.is_empty():
        axes.add_collection(PolyCollection(_corners(none, rows, unit_s), **_NO_SCORE))
        keys["no samples, or not defined on them"] = Patch(**_NO_SCORE)
    if known.is_empty():
        return
    values = known["value"].to_numpy()
    drawn = PolyCollection(
        _corners(known, rows, unit_s), array=values, cmap=_COLOURS, edgecolors="face", linewidths=0.3
    )
    drawn.set_clim(*colour_range(values))
    axes.add_collection(drawn)
    _scale(figure, drawn, metric)


def _corners(cells: pl.DataFrame, rows: _Rows, unit_s: float) -> Sequence[Floats]:
    """The four corners of each cell."""
    left, right = cells["start_ts"].to_numpy() / unit_s, cells["end_ts"].to_numpy() / unit_s
    top = np.array([rows.top(model) for model in cells["model"]])
    bottom = top + 1.0 - rows.gap
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return list(np.stack([np.column_stack(corner) for corner in corners], axis=1))


def _scale(figure: Figure, drawn: PolyCollection, metric: str) -> None:
    (_, bottom), (_, top) = figure.axes[0].get_position().get_points()
    beside = figure.add_axes((1.0 - RIGHT / WIDTH + 0.3 / WIDTH, bottom, 0.28 / WIDTH, top - bottom))
    bar = figure.colorbar(drawn, cax=beside)
    known = find_metric(metric)
    better = "" if known is None else f" ({'higher' if known.bad == 'lower' else 'lower'} is better)"
    bar.set_label(f"{metric}{better}", color=INK)


def _outlines(axes: Axes, keys: dict[str, Artist], active: pl.DataFrame, rows: _Rows, unit_s: float) -> None:
    """A frame around the intervals in which a model was the active one, those that touch in one."""
    from matplotlib.patches import Patch, Rectangle

    frames: list[tuple[int, float, float]] = []
    for model, start, end in active.select("model", "start_ts", "end_ts").sort("start_ts", "end_ts").iter_rows():
        # neighbours may share a timestamp, which stands for a second
        if frames and frames[-1][0] == model and start <= frames[-1][2] + 1.0:
            frames[-1] = (model, frames[-1][1], max(frames[-1][2], end))
        else:
            frames.append((model, start, end))
    for color, width in (("white", 4.0), (INK, 1.8)):
        for model, start, end in frames:
            box = (start / unit_s, rows.top(model)), (end - start) / unit_s, 1.0 - rows.gap
            axes.add_patch(Rectangle(*box, facecolor="none", edgecolor=color, linewidth=width, zorder=3, clip_on=False))
    if frames:
        keys["it was the active model"] = Patch(facecolor="none", edgecolor=INK, linewidth=1.8)
