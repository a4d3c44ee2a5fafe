"""How much jobs on neighbouring devices slow each other down, from when they computed side by side.

In the simulator a job that alone would take s seconds makes progress at a rate of 1 / (1 + f · others), with the
number of others on its node at each moment (`sim.contention`). So one that was seen to take the seconds t₀, t₁, t₂, …
beside 0, 1, 2, … others would have taken t₀ + t₁ / (1 + f) + t₂ / (1 + 2f) + … alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sim.calibration.figures import LEVEL
from sim.throughput.robust import HUBER, TO_SIGMA, relative_fit
from twinclock.result import Run

_MOST = 4.0
"""The largest factor that is looked for."""
_WIDEST = 1.0
"""A wider interval tells nothing."""
WORKING = (
    *("WAIT_FOR_TRAINING_COMPLETION", "WAIT_FOR_EVALUATION_COMPLETION"),
    *("OBSERVE", "SCORE_CANDIDATE"),
)
"""Stages in which a device computes."""
BESIDE = "beside_s"
"""Column: seconds beside 0, 1, 2, … others."""


def with_neighbours(jobs: pl.DataFrame, run: Run) -> pl.DataFrame:
    """`jobs` with the seconds that each had beside 0, 1, 2, … other devices that computed."""
    working = run.stage_runs.filter(pl.col("stage").is_in(WORKING), pl.col("device").is_not_null())
    others = working.select("device", "started_s", "ended_s").filter(pl.col("ended_s") > pl.col("started_s"))
    device = others["device"].to_numpy()
    starts, ends = others["started_s"].to_numpy(), others["ended_s"].to_numpy()
    beside = []
    for own, start, end in jobs.select("device", "started_s", "ended_s").iter_rows():
        there = (starts < end) & (ends > start) & (device != own)
        beside.append(_seconds_beside(start, end, starts[there], ends[there]))
    return jobs.with_columns(pl.Series(BESIDE, beside, dtype=pl.List(pl.Float64)))


def _seconds_beside(start: float, end: float, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> list[float]:
    edges = np.unique(np.concatenate([[start, end], np.clip(starts, start, end), np.clip(ends, start, end)]))
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    others = ((starts[None, :] < middles[:, None]) & (ends[None, :] > middles[:, None])).sum(axis=1)
    seconds: list[float] = np.bincount(others, weights=lengths, minlength=1).tolist()
    return seconds


def beside_matrix(jobs: pl.DataFrame) -> NDArray[np.float64]:
    """A row for each job, a column for each number of others."""
    rows = jobs[BESIDE].to_list()
    width = max(map(len, rows), default=1)
    return np.array([row + [0.0] * (width - len(row)) for row in rows], np.float64).reshape(len(rows), width)


def alone_s(beside: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Seconds that each job would have taken alone, if each other one slows it down by `factor`."""
    return beside @ (1.0 / (1.0 + factor * np.arange(beside.shape[1])))


@dataclass(frozen=True, slots=True)
class Slowing:
    """By how much longer a job takes for each other one on its node."""

    factor: float
    low: float
    high: float


def fit_slowing(columns: NDArray[np.float64], beside: NDArray[np.float64]) -> Slowing | None:
    """The factor with which the seconds that jobs would have taken alone fit best; None if they do not tell it.

    For each factor the formula is fitted anew. The interval has the factors whose errors are no larger than the least
    ones by what chance alone makes (the F test of a profile).
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import f as f_distribution

    if beside.shape[1] < 2 or not beside[:, 1:].any():
        return None
    freedom = len(beside) - columns.shape[1] - 1
    if freedom < 1:
        return None

    def error(factor: float) -> float:
        seconds = alone_s(beside, factor)
        residuals = np.log(seconds / (columns @ relative_fit(columns, seconds)))
        residuals -= np.median(residuals)
        reach = HUBER * max(TO_SIGMA * float(np.median(np.abs(residuals))), 1e-9)
        return float((np.minimum(np.abs(residuals), reach) ** 2).sum()) + 1e-18

    grid = np.linspace(0.0, _MOST, 41)
    errors = [error(each) for each in grid]
    at = int(np.argmin(errors))
    around = (grid[max(0, at - 1)], grid[min(len(grid) - 1, at + 1)])
    found = float(minimize_scalar(error, bounds=around, method="bounded").x)
    bound = min(error(found), errors[at]) * (1.0 + float(f_distribution.ppf(LEVEL, 1, freedom)) / freedom)

    def excess(factor: float) -> float:
        return float(error(factor) - bound)

    low = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, found, xtol=1e-4))
    if excess(_MOST) <= 0:
        return None
    high = float(brentq(excess, found, _MOST, xtol=1e-4))
    return Slowing(found, low, high) if high - low <= _WIDEST else None
