"""Arithmetic of positions kept as sorted half-open ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ranges: TypeAlias = list[list[int]]


def merge_ranges(ranges: Iterable[Sequence[int]]) -> Ranges:
    """The same positions as sorted half-open ranges that neither overlap nor touch, none empty."""
    merged: Ranges = []
    for first, stop in sorted((r[0], r[1]) for r in ranges if r[0] < r[1]):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([first, stop])
    return merged


def num_positions(ranges: Ranges) -> int:
    """How many positions merged ranges hold."""
    return sum(stop - first for first, stop in ranges)


def starting_at(ranges: Ranges, earliest: int) -> Ranges:
    """Merged ranges without the positions before `earliest`."""
    return [[max(first, earliest), stop] for first, stop in ranges if stop > earliest]


def position_at(ranges: Ranges, rank: int) -> int:
    """The position that stands at `rank`, from 0, when merged ranges are counted through."""
    for first, stop in ranges:
        if rank < stop - first:
            return first + rank
        rank -= stop - first
    raise IndexError(f"rank is {rank} beyond the last position")


def positions_at(ranges: Ranges, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same for many ranks."""
    bounds = np.array(ranges, dtype=np.int64)
    lengths = bounds[:, 1] - bounds[:, 0]
    starts = np.cumsum(lengths) - lengths
    which = np.searchsorted(starts, ranks, side="right") - 1
    chosen: NDArray[np.int64] = bounds[which, 0] + ranks - starts[which]
    return chosen
