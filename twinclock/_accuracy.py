"""How good the active model was, over data time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from twinclock._chart import FAINT, INK, PAINTS, Floats, chart_width_px, legend, new_chart, note, spread
from twinclock._data_time import data_time_axis
from twinclock.activations import activated_models
from twinclock.result import Run
from twinclock.summary import composite_scores, data_span

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_LINES = 100
_MAX_MODELS = 200
"""Changes of the active model that are marked one by one."""
_NO_MODEL, _NO_SCORE = "no active model", "not scored: no samples, or not evaluated"
_GAP = {"facecolor": "#f0f0f0", "edgecolor": "#b5b5b5", "linewidth": 0.0}
_HATCHES = {_NO_MODEL: "//", _NO_SCORE: ".."}


def draw_accuracy(run: Run) -> Figure:
    """The picture; where there is no accuracy it says why."""
    scores = composite_scores(run.config, run.tables, "active", "accuracy")
    value, left_out = run.summary["accuracy"], run.summary["accuracy_left_out"]
    mean = "" if value is None else f", mean {value:.3f}"
    share = f" · mean weighted by data time, of which {left_out:.1%} is left out" if value is not None else ""
    figure, axes = new_chart(
        f"{run.name}: accuracy of the active model{mean}", f"{run.config.variant}, {run.config.mode}{share}"
    )
    if (missing := _why_none(run, scores)) is not None:
        note(axes, missing)
    span = data_span(run.tables)
    if span is None:
        axes.set_axis_off()
        return figure
    known = scores.filter(pl.col("value").is_not_null())
    first, last = min([span[0], *known["start_ts"]]), max([span[1], *known["end_ts"]])
    last = last if last > first else first + 1.0
    unit_s = data_time_axis(axes, first, last)
    axes.set_ylim(0.0, 1.0)
    axes.set_ylabel("accuracy")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    keys: dict[str, Artist] = {}
    _gaps(axes, keys, scores, _first_active(scores, activated_models(run.tables), last), first, last, unit_s)
    _triggers(axes, keys, run.triggers, first, last, unit_s)
    if not known.is_empty():
        _steps(axes, keys, known, first, last, unit_s)
        keys["mean, weighted by data time"] = axes.axhline(value, color=INK, linewidth=1.2, linestyle=(0, (6, 3)))
    legend(figure, keys, num_columns=3)
    return figure


def _why_none(run: Run, scores: pl.DataFrame) -> str | None:
    """Why no accuracy can be shown; None if it can."""
    if scores["value"].is_not_null().any():
        return None
    if not run.config.evaluation.plans:
        return "No accuracy: the configuration has no evaluation plan (evaluation.plans)."
    if all(plan.models not in ("active", "all") for plan in run.config.evaluation.plans):
        return "No accuracy: no evaluation plan asks for the active model (models: active, or all)."
    if run.models.is_empty():
        return "No accuracy: no model was stored in this run."
    if run.evaluations.is_empty():
        return "No accuracy: no evaluation has ended in this run."
    if "accuracy" not in run.evaluations["metric"]:
        metrics = ", ".join(run.evaluations["metric"].unique().sort().to_list())
        return f"No accuracy was measured; the metrics of this run: {metrics}."
    return "No accuracy: no interval that was evaluated has samples and a score of the model active on it."


def step_points(known: pl.DataFrame) -> tuple[Floats, Floats]:
    """The levels of scored intervals as one line of data time and score, broken where the next does not touch."""
    starts, ends = known["start_ts"].to_numpy(), known["end_ts"].to_numpy()
    values = known["value"].to_numpy()
    # neighbours may share a timestamp, which stands for a second; what overlaps by more is a level of its own
    apart = (starts[1:] > ends[:-1]) | (starts[1:] < ends[:-1] - 1.0)
    breaks = np.where(apart, np.nan, starts[1:])
    # three points an interval: its level from start to end, and the way to the next one, if they touch
    x = np.column_stack([starts, ends, np.append(breaks, np.nan)]).ravel()
    y = np.column_stack([values, values, np.append(values[1:], np.nan)]).ravel()
    return x, y


def _steps(axes: Axes, keys: dict[str, Artist], known: pl.DataFrame, first: float, last: float, unit_s: float) -> None:
    """One level for each interval, joined where the next begins at once, with a dot at each new model."""
    starts, values = known["start_ts"].to_numpy(), known["value"].to_numpy()
    x, y = step_points(known)
    color = PAINTS["training"].fill
    (keys["accuracy, level on each interval"],) = axes.plot(x / unit_s, y, color=color, linewidth=2.2, zorder=4)
    models = known["model"].to_numpy()
    new = np.flatnonzero(np.append(True, models[1:] != models[:-1]))
    if len(new) > _MAX_MODELS:
        return
    (keys["a newer model becomes active (its trigger)"],) = axes.plot(
        starts[new] / unit_s, values[new], color=color, marker="o", linestyle="none", markersize=6, zorder=5,
        markerfacecolor="white", markeredgewidth=1.8,
    )  # fmt: skip
    places = (starts[new] - first) / (last - first) * chart_width_px()
    for index in spread(places, 9.0 * (1 + len(str(models[-1])))):
        at = new[index]
        # not on the line that comes down to it
        below = values[at] > 0.93 or (at > 0 and values[at] < values[at - 1])
        axes.annotate(
            str(models[at]), (starts[at] / unit_s, values[at]), (0, -8 if below else 8), textcoords="offset points",
            ha="center", va="top" if below else "bottom", size=9.5, color=color, zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )  # fmt: skip


def _first_active(scores: pl.DataFrame, models: pl.DataFrame, last: float) -> float:
    """The data time from which there is an active model: an interval's start, or else the first model's last sample."""
    with_model = scores.filter(pl.col("model").is_not_null())["start_ts"]
    if with_model.is_empty():
        with_model = models["last_ts"].drop_nulls().sort()
    return last if with_model.is_empty() else float(with_model[0])


def _gaps(
    axes: Axes, keys: dict[str, Artist], scores: pl.DataFrame, begun: float, first: float, last: float, unit_s: float
) -> None:
    """Shade the data time that has no score, in one way until the first model (`begun`) and in another after it."""
    from matplotlib.patches import Patch

    known = scores.filter(pl.col("value").is_not_null())
    reached = np.maximum.accumulate(np.append(first, known["end_ts"].to_numpy()))
    following = np.append(known["start_ts"].to_numpy(), last)
    pieces: dict[str, list[tuple[float, float]]] = {_NO_MODEL: [], _NO_SCORE: []}
    for start, end in zip(reached.tolist(), following.tolist(), strict=True):
        pieces[_NO_MODEL].append((start, min(end, begun)))
        pieces[_NO_SCORE].append((max(start, begun), end))
    for label, ranges in pieces.items():
        seen = [(start / unit_s, (end - start) / unit_s) for start, end in ranges if end > start]
        if seen:
            look: dict[str, Any] = {
                "facecolor": "#f0f0f0",
                "edgecolor": "#b5b5b5",
                "hatch": _HATCHES[label],
                "linewidth": 0.0,
            }
            axes.broken_barh(seen, (0.0, 1.0), zorder=1, **look)
            keys[label] = Patch(**look)


def _triggers(
    axes: Axes, keys: dict[str, Artist], triggers: pl.DataFrame, first: float, last: float, unit_s: float
) -> None:
    """A line at the data time of each trigger's last sample; a trigger without samples has none."""
    taken = triggers.filter(pl.col("last_ts").is_not_null()).sort("last_ts", "trigger")
    if taken.is_empty():
        return
    at_ts, serials = taken["last_ts"].to_numpy(), taken["trigger"].to_list()
    places: Floats = (at_ts - first) / (last - first) * chart_width_px()
    seen = spread(places, 0.5)
    # lines that stand close would hide all else: only their upper ends then
    dense = len(seen) > _MAX_LINES
    keys["trigger (its last sample)"] = axes.vlines(
        at_ts[seen] / unit_s, 0.97 if dense else 0.0, 1.0, color="#555555" if dense else "#777777",
        linewidth=0.9, linestyle="solid" if dense else (0, (4, 3)), zorder=2,
    )  # fmt: skip
    for index in spread(places, 9.0 * (1 + len(str(serials[-1])))):
        axes.text(
            at_ts[index] / unit_s, 1.008, str(serials[index]), transform=axes.get_xaxis_transform(), size=9.5,
            color=FAINT, ha="center", va="bottom",
        )  # fmt: skip
