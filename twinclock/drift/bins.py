"""Distances between histograms: Hellinger, Jensen-Shannon, population stability index.

The bins of a feature are chosen from both windows together by the rule of Sturges (⌈log2 N + 1⌉ bins of one
width, as numpy counts them). A feature with at most 20 distinct values in the reference is taken as discrete:
each value that either window has is a bin, one that only the current window has too.

A feature is left out, and counts 0, if a window has fewer than two finite values of it, or if it has one and the
same value in both windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinclock.drift.windows import Floats, scale_exponents

_MAX_DISCRETE = 20
_NO_SHARE = 0.0001
"""What the population stability index puts for a bin that a window has nothing in."""


def histograms(x: Floats, y: Floats) -> Iterator[tuple[Floats, Floats] | None]:
    """For each feature, the share of either window in each bin; None for a feature that counts 0."""
    for column_x, column_y in zip(x.T, y.T, strict=True):
        p, q = column_x[np.isfinite(column_x)], column_y[np.isfinite(column_y)]
        yield _shares(p, q) if min(len(p), len(q)) >= 2 else None


def hellinger(p: Floats, q: Floats) -> float:
    """√(1 − Σ√(p·q)), from 0 to 1; computed as √(½ Σ(√p − √q)²), which is 0 where p = q."""
    return float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))


def js(p: Floats, q: Floats) -> float:
    """The Jensen-Shannon distance with natural logarithms: the root of the divergence, from 0 to √ln 2."""
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))  # rounding may leave a divergence of −1e-17


def psi(p: Floats, q: Floats) -> float:
    """The population stability index Σ (p − q)·ln(p/q), with 0.0001 for a share of 0."""
    p, q = np.where(p == 0, _NO_SHARE, p), np.where(q == 0, _NO_SHARE, q)
    return float(((p - q) * np.log(p / q)).sum())


def _shares(x: Floats, y: Floats) -> tuple[Floats, Floats] | None:
    both = np.concatenate([x, y])
    exponents = scale_exponents(both[None])
    if exponents.any():
        x, y, both = (np.ldexp(each, -exponents[0]) for each in (x, y, both))
    ordered = np.sort(x)
    num_distinct = 1 + np.count_nonzero(ordered[1:] != ordered[:-1])
    if num_distinct > _MAX_DISCRETE:
        edges = np.histogram_bin_edges(both, bins="sturges")
        return np.histogram(x, edges)[0] / len(x), np.histogram(y, edges)[0] / len(y)
    values = np.unique(both)
    if len(values) == 1:
        return None
    p, q = (np.bincount(np.searchsorted(values, each), minlength=len(values)) for each in (x, y))
    return p / len(x), q / len(y)


def _relative_entropy(p: Floats, q: Floats) -> float:
    """Σ p·ln(p/q) over the bins that p has something in."""
    is_filled = p > 0
    return float((p[is_filled] * np.log(p[is_filled] / q[is_filled])).sum())
