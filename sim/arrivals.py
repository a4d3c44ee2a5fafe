"""Modelled streams: timestamps drawn in blocks when somebody asks for them, always the same for a seed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.rhythm import make_rhythm
from twinclock.arrivals import ArrivalsConfig
from twinclock.seeds import Purpose
from twinclock.stream import DataTime

_BLOCK = 65_536
_SHAPES = (0.01, 1000.0)
"""Of Weibull distributions, for any `cv` that a configuration may have."""

Times: TypeAlias = NDArray[np.float64]
Gaps: TypeAlias = Callable[[np.random.Generator, int], Times]
"""Draws so many seconds from one sample to the next."""


class DrawnStream:
    """Samples whose distances are independent draws, in data time or in an operational time that passes unevenly.

    Block k of the gaps is a function of the seed and of k. The time at which a block starts is the sum of
    those before it, so reaching far into the stream costs one pass over the blocks before; a few blocks are
    kept, and two numbers of each of the others, so reading on from there costs one block at a time.
    """

    def __init__(
        self, num_samples: int, gaps: Gaps, start_s: float, seed: int, data_time: Callable[[Times], Times] | None = None
    ) -> None:
        """`start_s`: operational time before the first sample. `data_time`: what it is in data time; None: the same."""
        self._num_samples = num_samples
        self._gaps = gaps
        self._seed = seed
        self._data_time = data_time if data_time is not None else np.asarray
        self._operational = [start_s]
        self._starts = [float(self._data_time(np.array([start_s]))[0])]
        self._block = lru_cache(maxsize=4)(self._draw)

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""
        return self._num_samples

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return DataTime(float(self._known(position // _BLOCK)[position % _BLOCK]))

    def timestamps(self, first: int, stop: int) -> Times:
        """Data times of [first, stop)."""
        parts = []
        while first < stop:
            block, offset = divmod(first, _BLOCK)
            count = min(stop - first, _BLOCK - offset)
            parts.append(self._known(block)[offset : offset + count])
            first += count
        return np.concatenate(parts) if parts else np.empty(0)

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """The first position in [first, stop) whose timestamp is >= ts, else `stop`."""
        # a block ends with the start of the next, so all before the last one that starts before ts are too early
        block = max(0, bisect_left(self._starts, ts) - 1)
        first = max(first, min(stop, block * _BLOCK))
        while first < stop:
            block, offset = divmod(first, _BLOCK)
            end = min(stop, (block + 1) * _BLOCK)
            times = self._known(block)[offset : offset + end - first]
            if times[-1] >= ts:
                return first + int(np.searchsorted(times, ts, side="left"))
            first = end
        return stop

    def _known(self, block: int) -> Times:
        while len(self._starts) <= block:
            self._block(len(self._starts) - 1)
        return self._block(block)

    def _draw(self, block: int) -> Times:
        key = np.random.SeedSequence(self._seed, spawn_key=(int(Purpose.ARRIVALS), block))
        operational = self._operational[block] + np.cumsum(self._gaps(np.random.default_rng(key), _BLOCK))
        times = self._data_time(operational)
        if block == len(self._starts) - 1:
            self._operational.append(float(operational[-1]))
            self._starts.append(float(times[-1]))
        return times


def poisson_stream(num_samples: int, interval_s: float, start_s: float, seed: int) -> DrawnStream:
    """Samples that arrive independently, `interval_s` seconds apart on average. ValueError if they can't."""
    if num_samples < 0 or not interval_s > 0:
        raise ValueError(f"expected num_samples >= 0 and interval_s > 0, got {num_samples} and {interval_s}")
    return DrawnStream(num_samples, partial(_exponential, interval_s), start_s, seed)


def modelled_stream(config: ArrivalsConfig, seed: int) -> DrawnStream:
    """The stream that a configuration describes."""
    gaps = _gaps(config)
    if config.daily is None and config.weekly is None:
        return DrawnStream(config.num_samples, gaps, config.start, seed)
    rhythm = make_rhythm(config.daily, config.weekly)
    return DrawnStream(config.num_samples, gaps, rhythm.operational(config.start), seed, rhythm.data_time)


def gamma_shape(cv: float) -> float:
    """Of the gamma distribution with this coefficient of variation; its scale is then mean / shape."""
    return 1.0 / cv**2


def weibull_shape(cv: float) -> float:
    """Of the Weibull distribution with this coefficient of variation; its scale is then mean / Γ(1 + 1 / shape).

    Γ(1 + 2/k) / Γ(1 + 1/k)² = 1 + cv² has one solution k, as the left side falls with k.
    """
    from scipy.optimize import brentq

    def too_much(shape: float) -> float:
        return math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape) - math.log1p(cv**2)

    return float(brentq(too_much, *_SHAPES, xtol=1e-15))


def _gaps(config: ArrivalsConfig) -> Gaps:
    if config.family == "exponential":
        return partial(_exponential, config.every)
    if config.family == "equal" or config.cv is None:
        return partial(_equal, config.every)
    if config.family == "gamma":
        shape = gamma_shape(config.cv)
        return partial(_gamma, shape, config.every / shape)
    shape = weibull_shape(config.cv)
    return partial(_weibull, shape, config.every / math.gamma(1 + 1 / shape))


def _exponential(mean_s: float, rng: np.random.Generator, size: int) -> Times:
    return rng.exponential(mean_s, size)


def _equal(gap_s: float, _rng: np.random.Generator, size: int) -> Times:
    return np.full(size, gap_s)


def _gamma(shape: float, scale_s: float, rng: np.random.Generator, size: int) -> Times:
    return rng.gamma(shape, scale_s, size)


def _weibull(shape: float, scale_s: float, rng: np.random.Generator, size: int) -> Times:
    return scale_s * rng.weibull(shape, size)
