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
    (sorted_x, nums_x), (sorted_y, nums_y) = (_columns(each) for each in _scaled(x, y))
    for column_x, column_y, num_x, num_y in zip(sorted_x, sorted_y, nums_x, nums_y, strict=True):
        p, q = column_x[:num_x], column_y[:num_y]
        yield _shares(p, q) if min(num_x, num_y) >= 2 else None


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


def _scaled(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both windows with NaN for what is missing, and features of huge or tiny values in a unit that suits them."""
    x, y = (np.where(np.isfinite(each), each, np.nan) for each in (x, y))
    exponents = scale_exponents(np.concatenate([x, y]).T)
    return (np.ldexp(x, -exponents), np.ldexp(y, -exponents)) if exponents.any() else (x, y)


def _columns(window: Floats) -> tuple[Floats, list[int]]:
    """Each feature as a row, ascending, and how many of its values are finite; the others come after them."""
    return np.sort(np.ascontiguousarray(window.T), axis=1), np.isfinite(window).sum(axis=0).tolist()


def _shares(x: Floats, y: Floats) -> tuple[Floats, Floats] | None:
    """The shares in each bin of two ascending arrays; None if all their values are one."""
    first, last = min(x[0], y[0]), max(x[-1], y[-1])
    if first == last:
        return None
    if 1 + np.count_nonzero(x[1:] != x[:-1]) > _MAX_DISCRETE:
        width = (last - first) / (np.log2(len(x) + len(y)) + 1)
        edges = np.linspace(first, last, int(np.ceil((last - first) / width)) + 1)
        lower = edges[:-1]  # the last bin holds its upper edge too, so nothing lies behind it
    else:
        lower = np.unique(np.concatenate([x, y]))
    p, q = (np.diff(np.append(np.searchsorted(each, lower), len(each))) / len(each) for each in (x, y))
    return p, q


def _relative_entropy(p: Floats, q: Floats) -> float:
    """Σ p·ln(p/q) over the bins that p has something in."""
    is_filled = p > 0
    return float((p[is_filled] * np.log(p[is_filled] / q[is_filled])).sum())
