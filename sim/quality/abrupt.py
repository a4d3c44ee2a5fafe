"""Abrupt drift: at some moments the world changes, and what was learned before holds less from then on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sim.numbers import Share
from sim.quality.asked import Asked
from sim.quality.knowledge import Knowledge
from twinclock.durations import Duration
from twinclock.section import ListOf, Section
from twinclock.seeds import Purpose, derived_seed
from twinclock.stream import Stream

MAX_CHANGES = 10_000
"""Change points that a stream may be expected to have."""
_BLOCK = 256


class AbruptDrift(Section):
    """The mean of (1 − lost)^k, k being the change points between a training sample and a scored one.

    So a model loses the share `lost` at a change point, as far as its training samples lie before it; a sample at a
    change point itself lies behind it. What was learned after a change holds as little for samples before it.
    Between s and t there are as many change points either way, and the mean is over all pairs.

    The points are listed, or a Poisson process: exponential distances of `every` on average, from the stream's
    first sample on, drawn from the run's seed and the number of this drift in the list. A longer stream has the
    same points and more. The shape is in Gama et al., A survey on concept drift adaptation, ACM Computing
    Surveys 46(4), 2014.
    """

    kind: Literal["abrupt"] = "abrupt"
    at: ListOf[float] | None = Field(default=None, min_length=1, max_length=MAX_CHANGES)
    """The change points, in data time (seconds); None: they are drawn."""
    every: Duration | None = None
    """Mean data time from one change point to the next; None: they are listed."""
    lost: Share = 0.3
    """Share of what was learned before a change point that does not hold after it."""

    @model_validator(mode="after")
    def _listed_or_drawn(self) -> AbruptDrift:
        if (self.at is None) == (self.every is None):
            got = "neither at nor every" if self.at is None else "both at and every"
            raise ValueError(f"got {got}, expected change points that are listed (at) or drawn (every)")
        return self


class Abrupt:
    """The shape, for one stream."""

    def __init__(self, drift: AbruptDrift, stream: Stream, seed: int, number: int) -> None:
        self._keeps = 1.0 - drift.lost
        points = change_points(drift, stream, seed, number)
        inner = sorted(stream.first_at_or_after(ts, 0, stream.num_samples) for ts in points)
        self._edges = np.array([0, *inner, stream.num_samples], np.int64)
        """Positions at which one concept ends and the next begins."""
        self._trained: dict[int, NDArray[np.float64]] = {}

    def kept(self, asked: Asked) -> float:
        """The mean over all pairs of a training sample and a scored one."""
        trained = self._trained.get(asked.serial)
        if trained is None:
            trained = self._trained[asked.serial] = self._shares_of(asked.knowledge)
        if not trained.any():
            return 1.0
        scored = self._shares(np.array([asked.first, asked.stop]), np.array([0.0, 1.0]))
        before, after = np.flatnonzero(trained), np.flatnonzero(scored)
        holds = self._keeps ** np.abs(before[:, None] - after[None, :])
        return float(min(1.0, trained[before] @ holds @ scored[after]))

    def _shares_of(self, knowledge: Knowledge) -> NDArray[np.float64]:
        bounds = np.stack([knowledge.first, knowledge.stop], axis=1).ravel()
        weights = np.repeat(knowledge.weights, 2)
        weights[::2] = 0.0  # nothing between two ranges
        return self._shares(bounds, np.cumsum(weights))

    def _shares(self, positions: NDArray[np.int64], up_to: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of some samples that lies in each concept, from the share before some positions."""
        if len(positions) == 0:
            return np.zeros(len(self._edges) - 1)
        return np.diff(np.interp(self._edges, positions, up_to))


def change_points(drift: AbruptDrift, stream: Stream, seed: int, number: int) -> list[float]:
    """The change points up to the stream's last sample, in order; `number` tells drifts of one run apart."""
    last_ts = stream.timestamp(stream.num_samples - 1)
    if drift.every is None:
        return sorted(ts for ts in drift.at or () if ts <= last_ts)
    rng = np.random.default_rng(derived_seed(seed, Purpose.CHANGE_POINTS, number))
    points: list[float] = []
    ts: float = stream.timestamp(0)
    while ts <= last_ts:
        block = ts + np.cumsum(rng.exponential(drift.every, _BLOCK))
        points += block[block <= last_ts].tolist()
        ts = float(block[-1])
    return points
