"""How fresh the models were: how long data took to get into one, and how stale they were, as distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twinclock._chart import INK, Floats, duration, legend, new_panels, note, remark, state_of, time_unit
from twinclock.freshness import PERCENTILES, incorporation_latencies, staleness_shares
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = dict(zip(PERCENTILES, ("o", "s", "^"), strict=True))
_LATENCY, _STALENESS = "#1f5a96", "#b35900"
_MAX_STEPS = 2000
_FROM = {
    "live": "live: counted from when a batch is cut, so the time in which it filled is not in it",
    "replay": "replay: data come as fast as they are taken, so this is about the pipeline",
}


def draw_freshness(run: Run) -> Figure:
    """The picture; each of its panels says why there is nothing to see, if that is so."""
    latency_s, counts = incorporation_latencies(run.tables)
    stale_s, shares = staleness_shares(run.tables, run.header.get("makespan_s"))
    figure, (above, below) = new_panels(
        f"{run.name}: how fresh the models were", f"{state_of(run)} · {_FROM[run.config.mode]}", (1.0, 1.0), gap=0.45
    )
    right_s = 1.04 * max([*latency_s[-1:], *stale_s[-1:]], default=0.0) or 1.0
    unit_s, unit = time_unit(right_s)
    keys: dict[str, Artist] = {}
    if len(latency_s):
        running = np.cumsum(counts) / counts.sum()
        # the least that so large a share does not exceed, as in the summary
        marks = {percent: float(latency_s[np.searchsorted(running, percent / 100)]) for percent in PERCENTILES}
        seconds, steps = _thinned(latency_s, running)
        x, y = np.array([0.0, *seconds, right_s]) / unit_s, np.array([0.0, *steps, 1.0])
        (keys["data incorporation latency"],) = above.step(x, y, where="post", color=_LATENCY, linewidth=2.2)
        _marks(above, keys, {percent: (at_s, percent / 100) for percent, at_s in marks.items()}, unit_s)
        missing = run.summary["not_incorporated"]
        remark(above, f"{counts.sum():,} samples; {missing:,} more never got into a model")
    else:
        note(above, "No data incorporation latency: no sample has got into a stored model.")
    if len(stale_s):
        (keys["staleness"],) = below.plot(
            np.array([0.0, *stale_s, right_s]) / unit_s, np.array([0.0, *shares, 1.0]), color=_STALENESS, linewidth=2.2,
            linestyle=(0, (6, 2)),
        )  # fmt: skip
        marks = {percent: float(np.interp(percent / 100, shares, stale_s)) for percent in PERCENTILES}
        _marks(below, keys, {percent: (at_s, percent / 100) for percent, at_s in marks.items()}, unit_s)
        mean = f"mean {duration(run.summary['staleness_s'])}, largest {duration(run.summary['staleness_max_s'])}"
        remark(below, mean)
    elif run.header.get("makespan_s") is None:
        note(below, "No staleness: the run has no end yet.")
    else:
        note(below, "No staleness: the run has no time after a stored model.")
    for axes, label in ((above, "share of samples"), (below, "share of the clock,\nfrom the first model on")):
        axes.set_ylim(0.0, 1.03)
        axes.set_ylabel(label)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    below.set_xlim(0.0, right_s / unit_s)
    below.set_xlabel(f"at most so long, on the run's clock ({unit})")
    if keys:
        legend(figure, keys, num_columns=5)
    return figure


def _thinned(seconds: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """No more steps than a picture can show, the last among them."""
    if len(seconds) <= _MAX_STEPS:
        return seconds, shares
    rows = np.unique(np.linspace(0, len(seconds) - 1, _MAX_STEPS).astype(int))
    return seconds[rows], shares[rows]


def _marks(axes: Axes, keys: dict[str, Artist], places: dict[int, tuple[float, float]], unit_s: float) -> None:
    """A marker with a line down to the axis at each percentile, and beside the axes what it comes to."""
    from matplotlib.lines import Line2D

    for row, (percent, (at_s, share)) in enumerate(places.items()):
        axes.vlines(at_s / unit_s, 0.0, share, color="#777777", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.plot(
            [at_s / unit_s], [share], color=INK, marker=_MARKERS[percent], markersize=7, linestyle="none", zorder=5,
            markerfacecolor="white", markeredgewidth=1.5,
        )  # fmt: skip
        keys[f"{percent} %"] = Line2D(
            [], [], color=INK, marker=_MARKERS[percent], markersize=7, linestyle="none", markerfacecolor="white",
            markeredgewidth=1.5,
        )  # fmt: skip
        axes.text(
            1.012, 0.97 - 0.085 * row, f"{percent} %: {duration(at_s)}", transform=axes.transAxes, va="center",
            size=10.5, color=INK,
        )  # fmt: skip
