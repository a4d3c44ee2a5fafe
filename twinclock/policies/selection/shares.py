"""How many samples: shares of a set, rounded as the decimals that the user wrote, and fair shares of classes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twinclock.policies.selection.config import FreshnessConfig, PresampleConfig


def presampled(total: int, config: PresampleConfig | None) -> int:
    """How many of `total` samples presampling keeps: ⌊total·ratio⌋, at most the limit."""
    if config is None:
        return total
    return min(_floored(total, _as_written(config.ratio)), config.limit or total)


def fresh_and_used(num_unused: int, num_used: int, config: FreshnessConfig) -> tuple[int, int]:
    """How many unused and used samples to draw; the formula stands in `FreshnessConfig`."""
    if num_used == 0:
        return min(num_unused, config.limit or num_unused), 0
    share = _as_written(config.unused) / 100
    most_by_unused = _floored(num_unused, 1 / share)
    most_by_used = _floored(num_used, 1 / (1 - share)) if share < 1 else most_by_unused
    total = min(most_by_unused, most_by_used)
    if config.limit is not None and total > config.limit:
        fresh = _floored(config.limit, share)
        return fresh, config.limit - fresh
    return (total - num_used, num_used) if most_by_used < most_by_unused else (num_unused, total - num_unused)


def fair_shares(sizes: Sequence[int] | NDArray[np.int64], target: int) -> NDArray[np.int64]:
    """How many of each class to take to have `target` in all, which must not be more than there are.

    A class smaller than an equal share gives all, the rest is shared again among the others, and a
    remainder goes to the first of them, one each: 10 of (1, 1, 20) are (1, 1, 8), 3 of (3, 3) are (2, 1).
    """
    there = np.asarray(sizes, np.int64)
    if target > there.sum():
        raise ValueError(f"expected to take at most {there.sum()} samples, got {target}")
    shares = np.zeros_like(there)
    sharing = np.arange(len(there))
    left = target
    while len(sharing):
        is_small = there[sharing] * len(sharing) < left
        if not is_small.any():
            each, more = divmod(left, len(sharing))
            shares[sharing] = each
            shares[sharing[:more]] += 1
            break
        small = sharing[is_small]
        shares[small] = there[small]
        left -= int(there[small].sum())
        sharing = sharing[~is_small]
    return shares


@lru_cache
def _as_written(number: float) -> Fraction:
    """The decimal that a user has to write for this number; kept, since making one takes longer than using it."""
    return Fraction(repr(number))


def _floored(number: int, factor: Fraction) -> int:
    return number * factor.numerator // factor.denominator
