"""Where did the time go: a bar for each stage, in parts for working and for what it waited for.

Waiting goes on beside other waiting and beside work, so a bar can be longer than the run. The line below a bar is what
of it lies on the critical path, which is what makes the run as long as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twinclock._chart import BOTTOM, FAINT, HEIGHT, INK, TOP, Paint, duration, legend, new_chart, nothing, time_unit
from twinclock.explain.spent import time_by_stage
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

_PARTS = {
    "working_s": Paint("working", "#1f5a96", "#123b66"),
    "waiting_device_s": Paint("waiting for a device", "#f6b455", "#c47d12", "////"),
    "waiting_slot_s": Paint("waiting for a training slot", "#cdb4e3", "#5b2a86", "\\\\\\\\"),
    "waiting_data_s": Paint("waiting for data", "#d4d4d4", "#8a8a8a"),
    "waiting_other_s": Paint("waiting for a lock, or another attempt", "#ffffff", "#555555", "xxxx"),
}
"""Column of `time_by_stage` → how it looks."""
_SMALL = 0.001
"""Share of the longest bar below which a stage is put with the others."""


def draw_time_by_stage(run: Run) -> Figure:
    """The picture; a run that is not finished, or in which nothing took time, gives one that says so."""
    title = f"{run.name}: where the time went"
    if run.state != "finished":
        return nothing(title, f"not finished, state: {run.state}", "Nothing to show: the run has no end yet.")
    makespan_s = float(run.header["makespan_s"])
    told = f"{run.config.variant}, {run.config.mode} · makespan {duration(makespan_s)}"
    total = pl.sum_horizontal(*_PARTS).alias("total_s")
    spent = time_by_stage(run).with_columns(total).sort(["total_s", "stage"], descending=[True, False])
    longest_s = spent["total_s"].max()
    if not isinstance(longest_s, float) or not longest_s > 0.0:
        return nothing(title, told, "Nothing to show: no stage took any time.")
    large = spent.filter(pl.col("total_s") >= _SMALL * longest_s)
    small = spent.filter(pl.col("total_s") < _SMALL * longest_s)
    if small.height:
        sums = small.select(
            pl.lit(f"{small.height} others").alias("stage"), pl.col(pl.Float64).exclude("median_s").sum()
        )
        large = pl.concat([large.select(sums.columns), sums])
    height = max(HEIGHT, BOTTOM + TOP + 0.45 * large.height)
    figure, axes = new_chart(title, told, height=height)
    unit_s, unit = time_unit(longest_s)
    rows = np.arange(large.height)
    base = np.zeros(large.height)
    keys: dict[str, Artist] = {}
    for column, paint in _PARTS.items():
        seconds = large[column].to_numpy() / unit_s
        if seconds.any():
            keys[paint.label] = axes.barh(
                rows, seconds, 0.45, base, facecolor=paint.fill, edgecolor=paint.edge, hatch=paint.hatch, linewidth=0.6
            )[0]
            base = base + seconds
    critical = large["critical_s"].to_numpy()
    keys["on the critical path"] = axes.barh(rows + 0.3, critical / unit_s, 0.08, color=INK)[0]
    for row, (stage, total_s, share) in enumerate(large.select("stage", "total_s", "critical_share").iter_rows()):
        axes.text(0.004, row - 0.26, stage, transform=axes.get_yaxis_transform(), va="bottom", size=9.5, color=INK)
        axes.text(
            1.008, row, f"{duration(total_s)}, {share:.0%} critical", transform=axes.get_yaxis_transform(), va="center",
            size=9.5, color=FAINT,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(max(large.height, 5) - 0.4, -0.6)
    axes.set_xlim(left=0.0)
    axes.set_xlabel(f"time of all runs of the stage together ({unit})")
    legend(figure, keys, num_columns=6)
    return figure
