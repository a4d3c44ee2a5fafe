"""What came of fitting costs to real runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sim.calibration.figures import Figure
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


@dataclass(frozen=True)
class Calibration:
    """Costs, interference and quality as real runs have shown them, each number with its interval."""

    costs: Mapping[str, Any]
    """As under `sim.costs`; what the runs do not show is not in it."""
    interference: Mapping[str, Any] | None
    """As under `sim.interference`; None if the runs do not show it."""
    quality: Mapping[str, Any] | None
    """The fitted formula, as under `sim.quality`; None if the runs do not show it."""
    matrix: tuple[Path, ...]
    """The runs that have measured a matrix of scores, which `write` gives preference over the formula; perhaps none."""
    figures: tuple[Figure, ...]
    """Each number with its interval, and what it was fitted to."""
    missing: tuple[str, ...]
    """What the runs do not show, and which run would: there the simulator's default stands."""
    residuals: pl.DataFrame
    """One row for each training and evaluation: `run`, `job`, `device`, `num_samples`, `seconds` it took (or would have
    taken with nobody beside it), `fitted_s` it takes on average by the fit, `is_warmup`, `is_outlier`."""
    scores: pl.DataFrame | None
    """One row for each score that the formula was fitted to: `run`, `model`, `value`, `num_scored`, `fitted`."""
    runs: tuple[Run, ...]
    """What it was fitted to."""

    def write(self, file: str | Path) -> Path:
        """Write it for `sim.calibration`, and say where; a file that was there is replaced. RunError if it can't be."""
        from sim.calibration.file import write_calibration

        return write_calibration(self, Path(file))

    def plot_residuals(self) -> Picture:
        """How well the fit meets what was observed."""
        from sim.calibration.picture import draw_residuals

        return draw_residuals(self)

    def __str__(self) -> str:
        from sim.calibration.show import calibration_text

        return calibration_text(self)

    def _repr_html_(self) -> str:
        from sim.calibration.show import calibration_html

        return calibration_html(self)
