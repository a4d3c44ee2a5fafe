"""How a metric responds to one or two axes of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl

from experiments.plots.values import Mean, is_larger_better, lacking, mean_of, values_of
from experiments.results import StudyResult
from experiments.statistics.observations import Floats
from twinclock._chart import DPI, INK, RIGHT, WIDTH, colour_range, legend, new_chart, nothing, shortened, style
from twinclock.policies.metrics import find_metric

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

Level: TypeAlias = float | str | None
"""Of an axis; None where it does not apply."""
Cells: TypeAlias = Mapping[tuple[Level, Level], Floats]
"""Levels of x and y → the values of all runs there."""

_COLOURS = "cividis"
_LINE = "#0072B2"
_NONE = "does not apply"


def response(result: StudyResult, x: str | None = None, y: str | None = None, metric: str | None = None) -> Figure:
    """A metric over two axes of a study, as a heat map with numbers; over one axis as a line with a 95 % interval.

    `x` and `y`: names of axes; None: the study's first and second, if it has one and `x` is not given. `metric`; None:
    the study's first. Each value is the mean over all runs at these levels, whatever their seeds and other axes.
    """
    axes = list(result.axes)
    y = axes[1] if x is None and y is None and len(axes) > 1 else y
    x = x if x is not None else next((axis for axis in axes if axis != y), None)
    metrics = [each.name for each in result.study.compared]
    metric = metric or (metrics[0] if metrics else "accuracy")
    title = f"{result.study.name}: {metric} over {' and '.join(name for name in (x, y) if name) or 'nothing'}"
    if x is None:
        with style():
            return nothing(title, "", "Nothing to show: the study has no axis.")
    values = values_of(result, metric)
    others = [axis for axis in axes if axis not in (x, y)]
    over = " and ".join(["seeds", *(f"levels of {axis}" for axis in others)])
    remark = " · ".join(text for text in (f"means over {over}", lacking(result)) if text)
    xs = _levels(result.runs[x])
    ys = [None] if y is None else _levels(result.runs[y])
    cells = {
        (a, b): values.filter(pl.col(x).eq_missing(a), True if y is None else pl.col(y).eq_missing(b))["value"]
        .drop_nulls()
        .cast(pl.Float64)
        .to_numpy()
        for a in xs
        for b in ys
    }
    known = find_metric(metric)
    larger = is_larger_better(result, metric, known is not None and known.bad == "lower")
    label = f"{metric} ({'larger' if larger else 'smaller'} is better)"
    return draw_response(
        xs, None if y is None else ys, cells, names=(x, y or ""), label=label, title=title, told=remark
    )


def draw_response(
    xs: Sequence[Level],
    ys: Sequence[Level] | None,
    cells: Cells,
    *,
    names: tuple[str, str],
    label: str,
    title: str,
    told: str = "",
) -> Figure:
    """The same from plain values; without `ys` the second level of each cell is None and there is a line."""
    with style():
        means = {place: mean_of(np.asarray(values, float), *map(str, place)) for place, values in cells.items()}
        if not any(mean.num_values for mean in means.values()):
            return nothing(title, told, "Nothing to show: no run that is done has a value of this metric.")
        if ys is None:
            return _line(xs, {a: means[(a, None)] for a in xs}, cells, names[0], label, title, told)
        return _map(xs, ys, means, names, label, title, told)


def _levels(column: pl.Series) -> list[Level]:
    """Numbers in ascending order, words as they come, and last that there is none."""
    levels: list[Level] = column.drop_nulls().unique(maintain_order=True).to_list()
    if column.dtype.is_numeric():
        levels = column.drop_nulls().unique().sort().to_list()
    return [*levels, *([None] if column.null_count() else [])]


def _named(level: Level) -> str:
    if level is None:
        return _NONE
    return shortened(level, 24) if isinstance(level, str) else f"{level:,.6g}" if abs(level) < 1e7 else f"{level:.4g}"


def _number(value: float) -> str:
    """Three figures."""
    size = abs(value)
    if size >= 1000 or size < 1e-3:
        return f"{value:,.0f}" if 1000 <= size < 1e7 or size == 0 else f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".")


def _line(
    xs: Sequence[Level],
    means: Mapping[Level, Mean],
    cells: Cells,
    name: str,
    label: str,
    title: str,
    told: str,
) -> Figure:
    """Numbers at their place on the axis, words side by side; a dot for every run."""
    figure, axes = new_chart(title, told)
    places = [x if isinstance(x, int | float) else np.nan for x in xs]
    are_numbers = all(isinstance(x, int | float) for x in xs)
    at = np.array(places if are_numbers else range(len(xs)), float)
    keys: dict[str, Artist] = {}
    for place, x in zip(at, xs, strict=True):
        values = cells[(x, None)]
        dots = axes.plot(
            np.full(len(values), place), values, color="#8a8a8a", marker="x", markersize=5, linestyle="none", zorder=2
        )
        keys["a run"] = dots[0]
    value, low, high = (np.array([getattr(means[x], part) for x in xs]) for part in ("value", "low", "high"))
    if np.isfinite(low).any():
        keys["95 % bootstrap interval"] = (
            axes.fill_between(at, low, high, facecolor="#cfe3f2", edgecolor="#7fb2d9", linewidth=0.8, zorder=1)
            if are_numbers
            else axes.vlines(at, low, high, color="#7fb2d9", linewidth=6.0, zorder=1)
        )
    # between words there is nothing, so nothing joins them
    (keys["mean"],) = axes.plot(
        at, value, color=_LINE, marker="o", markersize=7, linewidth=2.0, linestyle="-" if are_numbers else "none",
        zorder=3,
    )  # fmt: skip
    axes.set_xticks(at, [_named(x) for x in xs])
    if are_numbers and len(xs) > 2 and min(at) > 0 and max(at) / min(at) > 30:
        axes.set_xscale("log")
        axes.set_xticks(at, [_named(x) for x in xs], minor=False)
        axes.minorticks_off()
    _turned_if_crowded(axes, xs)
    axes.set_xlabel(name)
    axes.set_ylabel(label)
    axes.margins(x=0.06, y=0.08)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    legend(figure, keys, num_columns=3)
    return figure


def _map(
    xs: Sequence[Level],
    ys: Sequence[Level],
    means: Mapping[tuple[Level, Level], Mean],
    names: tuple[str, str],
    label: str,
    title: str,
    told: str,
) -> Figure:
    """A cell for each pair of levels; what no run has is hatched."""
    from matplotlib.patches import Patch

    figure, axes = new_chart(title, told)
    values = np.array([[means[(x, y)].value for x in xs] for y in ys])
    least, most = colour_range(values)
    axes.patch.set(facecolor="#f0f0f0", edgecolor="#b5b5b5", hatch="xx", linewidth=0.0)
    mesh = axes.pcolormesh(
        np.arange(len(xs) + 1) - 0.5, np.arange(len(ys) + 1) - 0.5, np.ma.masked_invalid(values), cmap=_COLOURS,
        vmin=least, vmax=most, edgecolors="white", linewidth=1.0,
    )  # fmt: skip
    _texts(axes, mesh, xs, ys, means)
    if not all(isinstance(y, int | float) for y in ys):
        axes.invert_yaxis()  # words are read from the top, numbers grow upwards
    axes.set_xticks(range(len(xs)), [_named(x) for x in xs])
    axes.set_yticks(range(len(ys)), [shortened(_named(y), 14) for y in ys])
    _turned_if_crowded(axes, xs)
    axes.tick_params(length=0)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    (_, bottom), (_, top) = axes.get_position().get_points()
    beside = figure.add_axes((1.0 - RIGHT / WIDTH + 0.3 / WIDTH, bottom, 0.28 / WIDTH, top - bottom))
    figure.colorbar(mesh, cax=beside).set_label(label, color=INK)
    if np.isnan(values).any():
        legend(
            figure, {"no run that is done has a value": Patch(facecolor="#f0f0f0", edgecolor="#b5b5b5", hatch="xx")},
            num_columns=1,
        )  # fmt: skip
    return figure


def _texts(
    axes: Axes,
    mesh: QuadMesh,
    xs: Sequence[Level],
    ys: Sequence[Level],
    means: Mapping[tuple[Level, Level], Mean],
) -> None:
    """The mean in each cell, and below it the interval, if there is room for it."""
    box = axes.get_window_extent()
    wide, high = box.width / len(xs), box.height / len(ys)
    for column, x in enumerate(xs):
        for row, y in enumerate(ys):
            mean = means[(x, y)]
            if not mean.num_values or wide < 46 or high < 16:
                continue
            text = _number(mean.value)
            if np.isfinite(mean.low) and wide >= 130 and high >= 44:
                text += f"\n{_number(mean.low)} … {_number(mean.high)}"
            red, green, blue, _ = mesh.to_rgba(np.array([mean.value]))[0]
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.text(
                column, row, text, ha="center", va="center", size=10 if "\n" in text else 10.5,
                color="white" if is_dark else INK,
            )  # fmt: skip


def _turned_if_crowded(axes: Axes, xs: Sequence[Level]) -> None:
    """Names below the axis on a slant where they would run into each other."""
    longest = max(len(_named(x)) for x in xs)
    if longest * 0.095 * DPI * len(xs) > axes.get_window_extent().width:
        axes.tick_params(axis="x", rotation=30, labelsize=8)
