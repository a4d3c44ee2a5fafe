"""How much longer than others the first training on each device takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.calibration.durations import Fit
from sim.calibration.figures import LEVEL, Figure


def fit_warmup(
    columns: NDArray[np.float64], is_warmup: NDArray[np.bool_], seconds: NDArray[np.float64], fit: Fit
) -> Figure:
    """The mean excess over the fit of the others; 0 unless noise alone would hardly make as much."""
    from scipy.stats import t

    fitted = columns[is_warmup] @ fit.numbers * fit.mean_factor
    excess = seconds[is_warmup] - fitted
    num_cold, freedom = len(excess), max(1, int((~is_warmup).sum()) - len(fit.told))
    if num_cold == 0:
        return Figure("costs.warmup_s", 0.0, None, None, "s", 0)
    mean = float(excess.mean())
    noise = float(np.sqrt((fit.sigma * fitted) @ (fit.sigma * fitted))) / num_cold
    spread = float(excess.std(ddof=1)) / np.sqrt(num_cold) if num_cold > 1 else 0.0
    reach = float(t.ppf(0.5 + LEVEL / 2, freedom)) * max(noise, spread)
    value = mean if mean - reach > 0 else 0.0
    return Figure("costs.warmup_s", value, max(0.0, mean - reach), max(0.0, mean + reach), "s", num_cold)
