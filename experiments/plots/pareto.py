"""Cost against quality: which variants nobody beats in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from experiments.plots.look import Look, looks
from experiments.plots.placement import Pair, place, text_size
from experiments.plots.values import Mean, is_larger_better, lacking, mean_of, values_by_variant
from experiments.results import StudyResult
from experiments.statistics.dominance import dominates
from experiments.statistics.observations import Floats
from twinclock._chart import BOTTOM, DPI, FAINT, HEIGHT, INK, WIDTH, legend, new_chart, note, shortened, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_LABELS = 16
"""Variants up to which their labels stand at the points."""
_SIZE = 10.0
_NEAR_PX = 20.0
_POINTS_PER_PIXEL = 72 / DPI
_LONGEST = 48
"""Characters of a label."""

_Labelled: TypeAlias = tuple[str, Mean, Mean]
"""Label, cost, quality."""


def pareto(result: StudyResult, quality: str | None = None, cost: str | None = None) -> Figure:
    """Mean cost against mean quality of each variant, with 95 % intervals over its seeds, and the Pareto front.

    `quality` and `cost` are metrics; None: the study's first and second. Only runs that are done count.
    """
    metrics = [metric.name for metric in result.study.compared]
    quality = quality or (metrics[0] if metrics else "accuracy")
    cost = cost or (metrics[1] if len(metrics) > 1 else "device_s")
    return draw_pareto(
        result.variants,
        values_by_variant(result, quality),
        values_by_variant(result, cost),
        names=(quality, cost),
        larger_is_better=(is_larger_better(result, quality, True), is_larger_better(result, cost, False)),
        title=f"{result.study.name}: {quality} against {cost}",
        remark=lacking(result),
    )


def draw_pareto(
    labels: Sequence[str],
    quality: Sequence[Floats],
    cost: Sequence[Floats],
    *,
    names: tuple[str, str] = ("quality", "cost"),
    larger_is_better: tuple[bool, bool] = (True, False),
    title: str = "Quality against cost",
    remark: str = "",
) -> Figure:
    """The same from plain values: for each label those of its seeds, which may lack some or be NaN.

    `names` and `larger_is_better` are about quality and cost, in this order.
    """
    with style():
        return _drawn(labels, quality, cost, names, larger_is_better, title, remark)


def front(x: Floats, y: Floats, larger_is_better: tuple[bool, bool]) -> list[int]:
    """Indices of the points that no other beats: as good in both, and better in one; by x. NaN is beaten by all."""
    signed = np.column_stack([v if larger else -v for v, larger in zip((x, y), larger_is_better, strict=True)])
    known = np.flatnonzero(np.isfinite(signed).all(axis=1))
    unbeaten = known[~dominates(signed[known]).any(axis=0)]
    return sorted(unbeaten.tolist(), key=lambda i: (x[i], y[i]))


def _drawn(
    labels: Sequence[str],
    quality: Sequence[Floats],
    cost: Sequence[Floats],
    names: tuple[str, str],
    larger_is_better: tuple[bool, bool],
    title: str,
    remark: str,
) -> Figure:
    ys, xs = (
        [mean_of(np.asarray(values, float), label, name) for label, values in zip(labels, of, strict=True)]
        for of, name in zip((quality, cost), names, strict=True)
    )
    shown = [i for i in range(len(labels)) if xs[i].num_values and ys[i].num_values]
    counts = sorted({ys[i].num_values for i in shown})
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0]) if counts else "no"
    told = f"mean over {seeds} seed{'s' * (counts != [1])}, with 95 % bootstrap intervals"
    told = told if counts != [1] else "one seed, so there are no intervals"
    missing = [labels[i] for i in range(len(labels)) if i not in shown]
    remarks = [remark, f"without a value: {', '.join(missing)}" if missing else ""]
    subtitle = " · ".join([told, *(text for text in remarks if text)])
    x, y = (np.array([means[i].value for i in shown]) for means in (xs, ys))
    best = [shown[k] for k in front(x, y, larger_is_better[::-1])]
    points = [(labels[i], xs[i], ys[i]) for i in shown]
    steps = [(xs[i].value, ys[i].value) for i in best]
    figure, axes = _canvas(title, subtitle, names, larger_is_better, BOTTOM)
    if not shown:
        note(axes, "Nothing to show: no variant has a value of both.")
        return figure
    _frame(axes, points)
    texts = [shortened(label, _LONGEST) for label, _, _ in points]
    centres = _centres(axes, points, texts, _corners(steps, larger_is_better[1]))
    keys = _key(len(best) < len(shown))
    look = looks(labels)
    if len(shown) > _MAX_LABELS or None in centres:
        # numbers at the points, and a list of what they stand for
        texts = [str(number) for number in range(1, len(shown) + 1)]
        listed = {
            f"{n}  {shortened(label, _LONGEST)}": look[label].key()
            for n, (label, *_) in zip(texts, points, strict=True)
        }
        columns = _columns(listed)
        figure, axes = _canvas(title, subtitle, names, larger_is_better, BOTTOM + 0.235 * -(-len(listed) // columns))
        _frame(axes, points)
        centres = _centres(axes, points, texts, _corners(steps, larger_is_better[1]))
        if None in centres:  # then rather on a line than not at all
            centres = _centres(axes, [(label, _without_ends(x), _without_ends(y)) for label, x, y in points], texts, [])
        figure.legend(
            list(listed.values()), list(listed), loc="lower center", ncols=columns, frameon=False, fontsize=_SIZE,
            bbox_to_anchor=(0.5, 0.38 / figure.get_figheight()),
        )  # fmt: skip
    corners = np.array(_corners(steps, larger_is_better[1]))
    (keys["Pareto front"],) = axes.plot(*corners.T, color=INK, linewidth=1.4, linestyle=(0, (5, 2)), zorder=2)
    for i, text, centre in zip(shown, texts, centres, strict=True):
        _point(axes, xs[i], ys[i], look[labels[i]], i in best)
        if centre is not None:
            _label(axes, xs[i].value, ys[i].value, text, centre)
    legend(figure, keys, num_columns=3)
    return figure


def _canvas(
    title: str, subtitle: str, names: tuple[str, str], larger_is_better: tuple[bool, bool], bottom: float
) -> tuple[Figure, Axes]:
    figure, axes = new_chart(title, subtitle, height=HEIGHT + bottom - BOTTOM, bottom=bottom)
    directions = ["larger is better" if larger else "smaller is better" for larger in larger_is_better]
    axes.set_ylabel(f"{names[0]} ({directions[0]})")
    axes.set_xlabel(f"{names[1]} ({directions[1]})")
    axes.grid(color="#e4e4e4", linewidth=0.8)
    return figure, axes


def _frame(axes: Axes, points: Sequence[_Labelled]) -> None:
    """Limits that hold all means and their intervals."""
    axes.set_xlim(*_limits([x for _, x, _ in points]))
    axes.set_ylim(*_limits([y for _, _, y in points]))


def _columns(keys: Iterable[str]) -> int:
    """How many columns of such a legend the picture is wide enough for."""
    widest = max(text_size(key, _SIZE)[0] for key in keys) + 75.0
    return max(1, int(WIDTH * DPI / widest))


def _limits(means: Sequence[Mean]) -> tuple[float, float]:
    """What holds all means and their intervals, with room for labels."""
    ends = [end for mean in means for end in mean[:3] if np.isfinite(end)]
    least, most = min(ends), max(ends)
    room = 0.12 * (most - least) or 0.1 * abs(most) or 1.0
    return least - room, most + room


def _corners(front: Sequence[tuple[float, float]], is_larger_better: bool) -> list[tuple[float, float]]:
    """The best that can be had for so much: steps from one point of the front to the next."""
    corners = list(front[:1])
    for (x, y), (next_x, next_y) in pairwise(front):
        corners += [(x, next_y) if is_larger_better else (next_x, y), (next_x, next_y)]
    return corners


def _point(axes: Axes, x: Mean, y: Mean, look: Look, is_best: bool) -> None:
    """The mean, filled if it is on the front, with whiskers where there is an interval."""
    if np.isfinite(x.low):
        axes.hlines(y.value, x.low, x.high, color=look.color, linewidth=1.3, zorder=3)
    if np.isfinite(y.low):
        axes.vlines(x.value, y.low, y.high, color=look.color, linewidth=1.3, zorder=3)
    axes.plot(
        x.value, y.value, marker=look.marker, color=look.color, markersize=10, linestyle="none", markeredgewidth=1.8,
        markerfacecolor=look.color if is_best else "white", zorder=4,
    )  # fmt: skip


def _key(some_dominated: bool) -> dict[str, Artist]:
    from matplotlib.lines import Line2D

    def dot(fill: str) -> Line2D:
        return Line2D(
            [], [], color=FAINT, marker="o", markersize=9, linestyle="none", markeredgewidth=1.8, markerfacecolor=fill
        )

    keys: dict[str, Artist] = {"on the front": dot(FAINT)}
    if some_dominated:
        keys["dominated: another is as good in both, and better in one"] = dot("white")
    return keys


def _centres(
    axes: Axes, points: Sequence[_Labelled], texts: Sequence[str], corners: Sequence[tuple[float, float]]
) -> list[Pair | None]:
    """Where the labels go, in pixels from the lower left of the axes: not on points, whiskers and the front."""
    box = axes.get_window_extent()

    def pixels(x: float, y: float) -> Pair:
        across, up = axes.transData.transform((x, y))
        return float(across - box.x0), float(up - box.y0)

    lines = [(pixels(*start), pixels(*end)) for start, end in pairwise(corners)]
    for _, x, y in points:
        if np.isfinite(x.low):
            lines.append((pixels(x.low, y.value), pixels(x.high, y.value)))
        if np.isfinite(y.low):
            lines.append((pixels(x.value, y.low), pixels(x.value, y.high)))
    taken = [(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in lines]
    at = [pixels(x.value, y.value) for _, x, y in points]
    return place(at, [text_size(text, _SIZE) for text in texts], (box.width, box.height), 9.0, taken)


def _without_ends(mean: Mean) -> Mean:
    return mean._replace(low=np.nan, high=np.nan)


def _label(axes: Axes, x: float, y: float, text: str, centre: Pair) -> None:
    """A label at its place, with a line to its point if that is far."""
    from matplotlib.patheffects import withStroke

    box = axes.get_window_extent()
    at = axes.transData.transform((x, y)) - (box.x0, box.y0)
    right, up = centre[0] - at[0], centre[1] - at[1]
    width, height = text_size(text, _SIZE)
    is_far = max(abs(right) - width / 2, abs(up) - height / 2) > _NEAR_PX
    axes.annotate(
        text, (x, y), (right * _POINTS_PER_PIXEL, up * _POINTS_PER_PIXEL), textcoords="offset points", ha="center",
        va="center", size=_SIZE, color=INK, zorder=6, parse_math=False,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkB": 6} if is_far else None,
    )  # fmt: skip
