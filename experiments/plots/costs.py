"""What several policies cost: device-seconds over the clock, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

import twinclock as tc
from experiments.plots.look import looks
from experiments.plots.rows import name_row, names_of, note_row
from twinclock._chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    PAINTS,
    RIGHT,
    TOP,
    WIDTH,
    duration,
    legend,
    new_figure,
    nothing,
    panel,
    patch,
    style,
    time_unit,
)
from twinclock._lanes import WORK
from twinclock._occupancy import Occupancy, occupancy

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 5
_ROW = 0.4
"""Inches of a bar."""
_AXIS = 0.75
"""Inches for the ticks and the name of an x axis."""


def costs_by_policy(runs: Mapping[str, tc.Run]) -> Figure:
    """Device-seconds held so far, over the clock, for each policy; below, a bar of the kinds of work that they went to.

    `runs`: policy → run. The time of a device that several jobs have at once counts once.
    """
    with style():
        return _drawn(runs)


def _drawn(runs: Mapping[str, tc.Run]) -> Figure:
    title = "Device time by policy"
    spent = {label: occupancy(run) for label, run in runs.items()}
    names = names_of(runs)
    if not any(each.devices for each in spent.values()):
        return nothing(title, names, "Nothing to show: no time has passed in any run.")
    bars = _ROW * max(len(runs), 2)
    num_keys = len(runs) + len(WORK)
    bottom = BOTTOM + 0.25 * max(0, -(-num_keys // _COLUMNS) - 2)
    height = max(HEIGHT, bottom + bars + _AXIS + 4.0 + TOP)
    figure = new_figure(title, names, height)
    wide = WIDTH - LEFT - RIGHT
    above = panel(figure, (LEFT, bottom + bars + _AXIS, wide, height - TOP - bottom - bars - _AXIS))
    below = panel(figure, (LEFT, bottom, wide, bars))
    keys: dict[str, Artist] = {}
    most_s = max(float(_held(each)[-1]) for each in spent.values()) or 1.0
    unit_s, unit = time_unit(most_s)
    _lines(above, keys, spent, unit_s)
    above.set_ylabel(f"device time held so far ({unit})")
    _bars(below, keys, runs, spent, unit_s)
    below.set_xlabel(f"device time held ({unit})")
    legend(figure, keys, num_columns=_COLUMNS)
    return figure


def _held(spent: Occupancy) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Device-seconds held until each moment."""
    rates = [spent.devices[kind] for kind in WORK if kind in spent.devices]
    return spent.until(sum(rates, np.zeros(len(spent.edges) - 1)))


def _lines(axes: Axes, keys: dict[str, Artist], spent: Mapping[str, Occupancy], unit_s: float) -> None:
    """A line for each policy, with its marker where its run ends."""
    longest_s = max(float(each.edges[-1]) for each in spent.values())
    clock_s, clock = time_unit(longest_s)
    for number, (label, look) in enumerate(looks(spent).items()):
        # lines often lie on each other: the later, the narrower, so that all are seen
        width = 1.6 + 3.4 * (len(spent) - 1 - number) / max(len(spent) - 1, 1)
        x, y = spent[label].edges / clock_s, _held(spent[label]) / unit_s
        axes.plot(x, y, color=look.color, linestyle=look.dash, linewidth=width)
        axes.plot(x[-1:], y[-1:], color=look.color, marker=look.marker, markersize=8, clip_on=False, zorder=5)
        keys[label] = look.key()
    axes.set_xlim(0.0, longest_s / clock_s)
    axes.set_ylim(bottom=0.0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_xlabel(f"clock time since the run's start ({clock}); a line ends where its run does")


def _bars(
    axes: Axes, keys: dict[str, Artist], runs: Mapping[str, tc.Run], spent: Mapping[str, Occupancy], unit_s: float
) -> None:
    """A bar for each policy, in parts for the kinds of work, and beside it the sum and the money."""
    ends = np.zeros(len(spent))
    for kind in WORK:
        seconds = np.array(
            [each.until(each.devices[kind])[-1] if kind in each.devices else 0.0 for each in spent.values()]
        )
        if seconds.any():
            axes.barh(np.arange(len(spent)), seconds / unit_s, 0.7, ends, **PAINTS[kind].look)
            ends = ends + seconds / unit_s
            keys[PAINTS[kind].label] = patch(PAINTS[kind])
    for row, (label, look) in enumerate(looks(spent).items()):
        name_row(axes, row, label, look)
        usd = runs[label].summary["usd"]
        told = duration(float(_held(spent[label])[-1])) + ("" if usd is None else f", {usd:,.3g} USD")
        note_row(axes, row, told)
    axes.set_yticks([])
    axes.set_ylim(len(spent) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
