"""How a simulated run compares with the real run of the same configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import twinclock as tc
from experiments.plots.look import looks
from experiments.plots.placement import place, text_size
from experiments.plots.rows import note_row
from twinclock._chart import (
    BOTTOM,
    FAINT,
    HEIGHT,
    INK,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    chart_width_px,
    duration,
    legend,
    new_figure,
    note,
    panel,
    spread,
    style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_ROWS = 14
"""Stages in the list; the others together in one more row."""
_STRIP = 0.9
"""Inches of the triggers."""
_SQUARE = 5.2
"""Inches of the comparison of stages."""
_FIGURES = (("makespan", "makespan_s"), ("device-seconds", "device_s"))


def sim_against_real(simulated: tc.Run, real: tc.Run) -> Figure:
    """Seconds of each stage, makespan and device-seconds of both runs, and their triggers over positions in the data.

    On the diagonal a stage took as long in both. Beside it are the stages by number, and by how much the simulated run
    differs from the real one.
    """
    with style():
        return _drawn(simulated, real)


def _drawn(simulated: tc.Run, real: tc.Run) -> Figure:
    figure = new_figure(f"Simulated against real: {real.config.name}", _states(simulated, real), HEIGHT)
    bottom = BOTTOM + _STRIP + 0.95
    high = HEIGHT - TOP - bottom
    square = panel(figure, (LEFT, bottom, _SQUARE, high))
    listed = panel(figure, (LEFT + _SQUARE + 0.4, bottom, WIDTH - LEFT - _SQUARE - 0.8, high))
    strip = panel(figure, (LEFT, BOTTOM, WIDTH - LEFT - RIGHT, _STRIP))
    stages = _stages(simulated, real)
    keys: dict[str, Artist] = {}
    _square(square, keys, stages)
    _list(listed, stages, simulated, real)
    _triggers(strip, simulated, real)
    if keys:
        legend(figure, keys, num_columns=5)
    return figure


def _states(simulated: tc.Run, real: tc.Run) -> str:
    told = []
    for name, run in (("simulated", simulated), ("real", real)):
        outcome = run.outcome if run.state == "finished" else f"not finished, state: {run.state}"
        told.append(f"{name} ({run.header['executor']}): {outcome}")
    return " · ".join(told)


def _stages(simulated: tc.Run, real: tc.Run) -> list[tuple[str, float, float]]:
    """Stage, its seconds simulated and real; most seconds first."""
    ours, theirs = simulated.summary["stage_s"], real.summary["stage_s"]
    both = [(stage, ours.get(stage, 0.0), theirs.get(stage, 0.0)) for stage in dict.fromkeys([*theirs, *ours])]
    return sorted(both, key=lambda each: (-max(each[1:]), each[0]))


def _square(axes: Axes, keys: dict[str, Artist], stages: Sequence[tuple[str, float, float]]) -> None:
    """A point for each stage, by its number; both axes are logarithmic, and stages without time lie outside."""
    from matplotlib.lines import Line2D

    points = [(number, ours, theirs) for number, (_, ours, theirs) in enumerate(stages, 1) if ours > 0 and theirs > 0]
    axes.set_xlabel("seconds in the real run")
    axes.set_ylabel("seconds in the simulated run")
    if not points:
        note(axes, "No stage took time in both runs.")
        return
    least = min(min(point[1:]) for point in points) / 3
    most = max(max(point[1:]) for point in points) * 3
    axes.set(xscale="log", yscale="log", xlim=(least, most), ylim=(least, most))
    ends = np.array([least, most])
    (keys["equal"],) = axes.plot(ends, ends, color=INK, linewidth=1.2)
    keys["within a factor of 2"] = axes.fill_between(
        ends, ends / 2, ends * 2, facecolor="#ececec", edgecolor="#c4c4c4", linewidth=0.6, zorder=0.5
    )
    look: dict[str, Any] = {"marker": "o", "markersize": 7, "color": "#1f5a96", "linestyle": "none"}
    for number, ours, theirs in points:
        if number <= _MAX_ROWS:
            axes.plot(theirs, ours, **look)
        else:
            axes.plot(theirs, ours, **{**look, "markersize": 3})
    _numbers(axes, [point for point in points if point[0] <= _MAX_ROWS])
    keys["a stage, by its number"] = Line2D([], [], **look)


def _numbers(axes: Axes, points: Sequence[tuple[int, float, float]]) -> None:
    """The number of each stage beside its point, as far as there is room."""
    box = axes.get_window_extent()
    places = [axes.transData.transform((theirs, ours)) - (box.x0, box.y0) for _, ours, theirs in points]
    at = [(float(x), float(y)) for x, y in places]
    sizes = [text_size(str(number), 9.5) for number, _, _ in points]
    for (number, _, _), centre in zip(points, place(at, sizes, (box.width, box.height), 6.0), strict=True):
        if centre is not None:
            share = centre[0] / box.width, centre[1] / box.height
            axes.text(*share, str(number), transform=axes.transAxes, ha="center", va="center", size=9.5, color=INK)


def _list(axes: Axes, stages: Sequence[tuple[str, float, float]], simulated: tc.Run, real: tc.Run) -> None:
    """The figures of both runs and by how much they differ, as a table."""
    axes.set_axis_off()
    figures = [(name, simulated.summary[key], real.summary[key]) for name, key in _FIGURES]
    rows: list[tuple[str, str, Any, Any]] = [("", *figure) for figure in figures]
    rows += [(str(number), *stage) for number, stage in enumerate(stages[:_MAX_ROWS], 1)]
    if others := stages[_MAX_ROWS:]:
        rows.append(("", f"{len(others)} others", sum(s[1] for s in others), sum(s[2] for s in others)))
    places = ((0.03, "right"), (0.05, "left"), (0.67, "right"), (0.83, "right"), (1.0, "right"))
    header = ("", "", "simulated", "real", "difference")
    cells = [(number, name, _told(a), _told(b), _difference(a, b)) for number, name, a, b in rows]
    step = 1.0 / (_MAX_ROWS + len(figures) + 2.6)
    for row, texts in enumerate([header, *cells]):
        y = 1.0 - step * (row + 0.5 + (0.6 if row > len(figures) else 0.0))
        for (x, side), text in zip(places, texts, strict=True):
            axes.text(
                x, y, text, transform=axes.transAxes, ha=side, va="center", size=10, parse_math=False,
                color=FAINT if row == 0 else INK, weight="bold" if 0 < row <= len(figures) else "normal",
            )  # fmt: skip


def _told(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _difference(ours: float | None, theirs: float | None) -> str:
    """The simulated figure against the real one."""
    if not ours or not theirs:
        return "–"
    ratio = ours / theirs
    return f"{ratio - 1:+.0%}" if 0.1 <= ratio < 10 else f"× {ratio:.3g}"


def _triggers(axes: Axes, simulated: tc.Run, real: tc.Run) -> None:
    """Where in the data both runs triggered, one row for each."""
    samples = max(simulated.summary["samples"], real.summary["samples"], 1)
    sides = {"simulated": simulated, "real": real}
    positions = {name: run.summary["positions"] for name, run in sides.items()}
    for row, (name, look) in enumerate(looks(sides).items()):
        own = np.array(sorted(positions[name]), float)
        seen = own[spread(own / samples * chart_width_px(), 0.5)]
        axes.vlines(seen, row + 0.12, row + 0.88, color=look.color, linewidth=1.8)
        note_row(axes, row + 0.5, f"{len(own):,} triggers")
    common = len(set(positions["simulated"]) & set(positions["real"]))
    axes.set_yticks([0.5, 1.5], [f"triggers, {name}" for name in sides])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(2.0, 0.0)
    axes.set_xlim(0.0, float(samples))
    axes.set_xlabel(f"position in the data (samples); positions of triggers that both have: {common:,}")
