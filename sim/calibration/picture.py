"""The residuals of a calibration as a picture: what was fitted against what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sim.calibration.result import Calibration
from twinclock._chart import FAINT, FAULT, INK, PAINTS, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (13.0, 8.0)
_DPI = 110


def draw_residuals(found: Calibration) -> Figure:
    """Above: observed over fitted, with the noise that the simulator draws. Below: each residual by size."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        names = ", ".join(dict.fromkeys(run.config.name for run in found.runs))
        figure.suptitle(f"Costs fitted to {len(found.runs)} run(s) of {names}", fontweight="bold", color=INK)
        panels = figure.subplots(2, 3)
        sigma = float(found.costs["noise_sigma"])
        for column, job in enumerate(("training", "evaluation")):
            jobs = found.residuals.filter(pl.col("job") == job)
            _seconds(panels[0, column], jobs, f"{job}s", PAINTS[job].solid)
            _relative(panels[1, column], jobs, sigma, PAINTS[job].solid)
        _scores(panels[0, 2], panels[1, 2], found)
    return figure


def _seconds(axes: Axes, jobs: pl.DataFrame, name: str, colour: str) -> None:
    _points(axes, jobs, "fitted_s", jobs["seconds"].to_numpy(), colour)
    most = 1.05 * max(float(jobs[key].to_numpy().max()) for key in ("fitted_s", "seconds"))
    axes.plot((0, most), (0, most), color=INK, linewidth=1, label="equal")
    axes.set(title=name, xlabel="fitted [s]", ylabel="observed [s]", xlim=(0, most), ylim=(0, most))
    axes.legend(frameon=False, fontsize=9)


def _relative(axes: Axes, jobs: pl.DataFrame, sigma: float, colour: str) -> None:
    relative = (jobs["seconds"] / jobs["fitted_s"] - 1).to_numpy() * 100
    _points(axes, jobs, "num_samples", relative, colour)
    low, high = (100 * (np.exp(side * 1.96 * sigma) - 1) for side in (-1, 1))
    axes.axhspan(low, high, color="#dddddd", zorder=0, label=f"95 % of the noise, σ = {sigma:.2g}")
    axes.axhline(0, color=INK, linewidth=1)
    top = max(high, float(relative.max()))
    axes.set(xlabel="samples", ylabel="observed beyond fitted [%]", ylim=(None, top + 0.45 * (top - low)))
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _points(axes: Axes, jobs: pl.DataFrame, x: str, values: np.ndarray, colour: str) -> None:
    cold, far = jobs["is_warmup"].to_numpy(), jobs["is_outlier"].to_numpy()
    at = jobs[x].to_numpy()
    kinds: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("fitted to", ~cold & ~far, {"marker": "o", "facecolor": colour, "edgecolor": "white", "s": 30}),
        ("far off", far, {"marker": "x", "color": FAULT, "s": 40}),
        ("warm-up, left out", cold, {"marker": "^", "facecolor": "white", "edgecolor": INK, "s": 45}),
    )
    for label, chosen, look in kinds:
        if chosen.any():
            axes.scatter(at[chosen], values[chosen], label=label, linewidth=0.8, zorder=3, **look)


def _scores(above: Axes, below: Axes, found: Calibration) -> None:
    above.set(title="accuracy", xlabel="fitted", ylabel="observed")
    below.set(xlabel="fitted", ylabel="observed − fitted")
    if found.scores is None:
        for axes in (above, below):
            axes.text(0.5, 0.5, "no formula fitted", transform=axes.transAxes, ha="center", color=FAINT)
        return
    fitted, value = found.scores["fitted"].to_numpy(), found.scores["value"].to_numpy()
    colour = PAINTS["store"].edge
    for axes, y in ((above, value), (below, value - fitted)):
        axes.scatter(fitted, y, color=colour, edgecolor="white", linewidth=0.8, s=30, zorder=3)
    ends = np.array([min(fitted.min(), value.min()), max(fitted.max(), value.max())])
    above.plot(ends, ends, color=INK, linewidth=1, label="equal")
    above.legend(frameon=False, fontsize=9)
    below.axhline(0, color=INK, linewidth=1)
