"""Who waited, and how busy the devices were, over the clock of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twinclock._chart import (
    FAINT,
    INK,
    PAINTS,
    area,
    duration,
    legend,
    new_panels,
    note,
    nothing,
    patch,
    remark,
    state_of,
    time_unit,
)
from twinclock._lanes import WORK, Spans, at_once, mean_at_once
from twinclock._occupancy import TOO_MANY, Occupancy, edges_of, occupancy
from twinclock.result import Run
from twinclock.summary import queueing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUEUED = ("training", "evaluation", "other")
_NUM_WINDOWS = 80
"""Of the clock, for each of which utilisation is told."""


def draw_queue(run: Run) -> Figure:
    """The picture; a run whose tables know of no time yet gives one that says so."""
    used = occupancy(run)
    if not used.devices:
        return nothing(f"{run.name}: queues", state_of(run), "Nothing to show: no time has passed in this run.")
    waits = queueing(run.tables)
    waited_s = float((waits["granted_s"] - waits["requested_s"]).sum())
    figure, (above, below) = new_panels(
        f"{run.name}: {duration(waited_s)} of waiting for devices and training slots", state_of(run), (1.2, 1.0)
    )
    end_s = float(used.edges[-1])
    unit_s, unit = time_unit(end_s)
    keys: dict[str, Artist] = {}
    _lengths(above, keys, waits, end_s, unit_s)
    _utilisation(below, keys, used, unit_s)
    below.set_xlim(0.0, end_s / unit_s)
    below.set_xlabel(f"clock time since the run's start ({unit})")
    legend(figure, keys, num_columns=6)
    return figure


def _lengths(axes: Axes, keys: dict[str, Artist], waits: pl.DataFrame, end_s: float, unit_s: float) -> None:
    """How many wait at once, one kind of work on top of the other."""
    axes.set_ylabel("waiting")
    axes.set_ylim(0.0, 1.0)
    if waits.is_empty():
        note(axes, "Nothing has waited for a device or a training slot.")
        return
    edges, is_exact = edges_of(np.concatenate([waits["requested_s"], waits["granted_s"]]), end_s)
    base = np.zeros(len(edges) - 1)
    for row, kind in enumerate(_QUEUED):
        part = waits.filter(pl.col("work") == kind)
        if part.is_empty():
            continue
        spans = Spans(part["requested_s"].to_numpy(), part["granted_s"].to_numpy())
        waiting = mean_at_once(spans, edges)
        area(axes, edges / unit_s, base, waiting, PAINTS[kind])
        base = base + waiting
        keys.setdefault(PAINTS[kind].label, patch(PAINTS[kind]))
        most = int(at_once(spans)[1].max(initial=0.0))
        axes.text(
            1.012, 0.97 - 0.13 * row, f"{PAINTS[kind].label}:\n{duration(spans.total_s)}, at most {most}", size=9.5,
            transform=axes.transAxes, va="top", color=FAINT,
        )  # fmt: skip
    axes.set_ylim(0.0, 1.05 * max(float(base.max()), 1.0 if is_exact else 0.0))
    if is_exact:
        axes.locator_params(axis="y", integer=True)
    else:
        remark(axes, TOO_MANY)


def _utilisation(axes: Axes, keys: dict[str, Artist], used: Occupancy, unit_s: float) -> None:
    """The share of all devices that is held in each window of the clock, by kind of work, and its mean."""
    end_s = float(used.edges[-1])
    edges = np.linspace(0.0, end_s, _NUM_WINDOWS + 1)
    total = sum(used.devices.values()) * np.diff(used.edges)
    num_devices = total.sum() / end_s
    base = np.zeros(_NUM_WINDOWS)
    for kind in WORK:
        if kind in used.devices:
            until = np.interp(edges, used.edges, used.until(used.devices[kind]))
            share = np.diff(until) / np.diff(edges) / num_devices
            area(axes, edges / unit_s, base, share, PAINTS[kind])
            base = base + share
            keys.setdefault(PAINTS[kind].label, patch(PAINTS[kind]))
    mean = float(base.mean())
    keys["mean utilisation"] = axes.axhline(mean, color=INK, linewidth=1.4, linestyle=(0, (6, 3)), zorder=4)
    axes.text(1.012, mean, f"mean {mean:.0%}", transform=axes.get_yaxis_transform(), va="center", size=9.5, color=FAINT)
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylabel(f"utilisation, each {duration(end_s / _NUM_WINDOWS)}")
