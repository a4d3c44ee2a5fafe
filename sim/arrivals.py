"""Modelled streams: timestamps drawn in blocks when somebody asks for them, always the same for a seed."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twinclock.seeds import Purpose
from twinclock.stream import DataTime

_BLOCK = 65_536


class PoissonStream:
    """Samples that arrive independently, `interval_s` seconds apart on average.

    Block k of the timestamps is a function of the seed and of k. The time at which a block starts is
    the sum of those before it, so reaching far into the stream costs one pass over the blocks before;
    a few blocks are kept, so reading on from there costs one block at a time.
    """

    def __init__(self, num_samples: int, interval_s: float, start_s: float, seed: int) -> None:
        if num_samples < 0 or not interval_s > 0:
            raise ValueError(f"expected num_samples >= 0 and interval_s > 0, got {num_samples} and {interval_s}")
        self._num_samples = num_samples
        self._interval_s = interval_s
        self._seed = seed
        self._starts = [start_s]
        self._block = lru_cache(maxsize=4)(self._draw)

    @property
    def num_samples(self) -> int:
        """Samples in the whole stream."""
        return self._num_samples

    def timestamp(self, position: int) -> DataTime:
        """Data time of one sample."""
        return DataTime(float(self._known(position // _BLOCK)[position % _BLOCK]))

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
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

    def _known(self, block: int) -> NDArray[np.float64]:
        while len(self._starts) <= block:
            self._starts.append(float(self._block(len(self._starts) - 1)[-1]))
        return self._block(block)

    def _draw(self, block: int) -> NDArray[np.float64]:
        key = np.random.SeedSequence(self._seed, spawn_key=(int(Purpose.ARRIVALS), block))
        gaps = np.random.default_rng(key).exponential(self._interval_s, _BLOCK)
        return self._starts[block] + np.cumsum(gaps)
