"""What a run cost over its clock, by kind of work: devices at each moment, device-seconds and money so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from twinclock._chart import PAINTS, area, duration, legend, new_panels, nothing, patch, remark, state_of, time_unit
from twinclock._lanes import WORK, Floats
from twinclock._occupancy import TOO_MANY, occupancy
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_cost(run: Run) -> Figure:
    """The picture; a run whose tables know of no time yet gives one that says so."""
    spent = occupancy(run)
    if not spent.devices:
        return nothing(f"{run.name}: cost", state_of(run), "Nothing to show: no time has passed in this run.")
    end_s = float(spent.edges[-1])
    totals_s = {kind: float(spent.until(rates)[-1]) for kind, rates in spent.devices.items()}
    all_s, held_s = sum(totals_s.values()), sum(totals_s.get(kind, 0.0) for kind in WORK)
    title = f"{run.name}: {duration(held_s)} of {duration(all_s)} of device time held"
    usd = {kind: spent.until(rates) for kind, rates in spent.usd_per_s.items() if rates.any()}
    if spent.usd_per_s:
        title += f", {sum(each[-1] for each in usd.values()):,.4g} USD"
    figure, panels = new_panels(title, state_of(run), (1.0, 1.0, 1.0) if spent.usd_per_s else (1.0, 1.3))
    unit_s, unit = time_unit(end_s)
    edges = spent.edges / unit_s
    base = np.zeros(len(edges) - 1)
    for kind, rates in spent.devices.items():
        area(panels[0], edges, base, rates, PAINTS[kind])
        base = base + rates
    total_unit_s, total_unit = time_unit(all_s)
    _stack(panels[1], edges, {kind: spent.until(rates) / total_unit_s for kind, rates in spent.devices.items()})
    panels[0].set_ylabel("devices")
    panels[0].locator_params(axis="y", integer=True)
    panels[1].set_ylabel(f"device time so far ({total_unit})")
    if spent.usd_per_s:
        _stack(panels[2], edges, usd)
        panels[2].set_ylabel("USD so far")
        if missing := [*run.summary["usd_left_out"]]:
            remark(panels[2], f"without a price, left out: {', '.join(missing)}")
    if not spent.is_exact:
        remark(panels[0], TOO_MANY)
    for axes in panels:
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(0.0, end_s / unit_s)
    panels[-1].set_xlabel(f"clock time since the run's start ({unit})")
    keys = {
        f"{PAINTS[kind].label}: {duration(seconds)}, {seconds / all_s:.0%}": patch(PAINTS[kind])
        for kind, seconds in totals_s.items()
    }
    legend(figure, keys, num_columns=4)
    return figure


def _stack(axes: Axes, edges: Floats, amounts: Mapping[str, Floats]) -> None:
    base = np.zeros(len(edges))
    for kind, amount in amounts.items():
        axes.fill_between(edges, base, base + amount, **PAINTS[kind].look)
        base = base + amount
