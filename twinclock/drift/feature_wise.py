"""The distances between two windows of one feature.

Each takes the values of the reference, p, and of the current window, q: flat, without NaN, at least two of each, and
not all the same.

The bins of hellinger, js and psi are chosen from both windows together by the rule of Sturges (⌈log2 N + 1⌉ bins of
one width, as numpy counts them). A feature with at most 20 distinct values in the reference is taken as discrete:
each value that either window has is a bin, one that only the current window has too.
"""

from __future__ import annotations

import numpy as np

from twinclock.drift.windows import Floats

_SMALLEST_STD = 0.001
_MAX_DISCRETE = 20
_NO_SHARE = 0.0001
"""What the population stability index puts for a bin that a window has nothing in."""


def ks(p: Floats, q: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov statistic: the largest gap between the two distribution functions.

    That of `scipy.stats.ks_2samp`, which makes its test, too, and takes several times as long.
    """
    p, q = np.sort(p), np.sort(q)
    both = np.concatenate([p, q])
    gaps = np.searchsorted(p, both, "right") / len(p) - np.searchsorted(q, both, "right") / len(q)
    return float(np.abs(gaps).max())


def cvm(p: Floats, q: Floats) -> float:
    """The two-sample Cramér-von Mises statistic T, with midranks for ties. It grows with the windows.

    T. W. Anderson, On the distribution of the two-sample Cramér-von Mises criterion, Annals of Mathematical
    Statistics 33 (1962), equations 9 and 10. That of `scipy.stats.cramervonmises_2samp`, which makes its test, too,
    and takes several times as long.
    """
    from scipy.stats import rankdata

    n, m = len(p), len(q)
    ranks = rankdata(np.concatenate([np.sort(p), np.sort(q)]))
    u = n * ((ranks[:n] - np.arange(1, n + 1)) ** 2).sum() + m * ((ranks[n:] - np.arange(1, m + 1)) ** 2).sum()
    return float(u / (n * m * (n + m)) - (4 * n * m - 1) / (6 * (n + m)))


def wasserstein(p: Floats, q: Floats) -> float:
    """The Wasserstein distance W1 in standard deviations of the reference, or in 0.001 if that is more."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(p, q) / max(p.std(), _SMALLEST_STD))


def energy(p: Floats, q: Floats) -> float:
    """The energy distance √(2 ∫ (F − G)²): a root, in roots of the feature's unit.

    G. Székely, M. Rizzo, Energy statistics: a class of statistics based on distances, Journal of Statistical
    Planning and Inference 143 (2013).
    """
    from scipy.stats import energy_distance

    return float(energy_distance(p, q))


def hellinger(p: Floats, q: Floats) -> float:
    """√(1 − Σ√(p·q)) of the shares, from 0 to 1; computed as √(½ Σ(√p − √q)²), which is 0 where p = q."""
    p, q = shares(p, q)
    return float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))


def js(p: Floats, q: Floats) -> float:
    """The Jensen-Shannon distance of the shares with natural logarithms: the root of the divergence, 0 to √ln 2."""
    from scipy.spatial.distance import jensenshannon

    with np.errstate(invalid="ignore"):  # rounding may leave a divergence of −1e-17, which has no root
        return float(np.nan_to_num(jensenshannon(*shares(p, q))))


def psi(p: Floats, q: Floats) -> float:
    """The population stability index Σ (p − q)·ln(p/q) of the shares, with 0.0001 for a share of 0."""
    p, q = (np.where(each == 0, _NO_SHARE, each) for each in shares(p, q))
    return float(((p - q) * np.log(p / q)).sum())


def shares(p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """The share of either window in each bin."""
    both = np.concatenate([p, q])
    if len(np.unique(p)) <= _MAX_DISCRETE:
        edges = np.append(np.unique(both), np.inf)
    else:  # numpy's `histogram_bin_edges`, which gives up if the range is a few of the smallest steps of a float
        width = np.ptp(both) / (np.log2(len(both)) + 1)
        edges = np.linspace(both.min(), both.max(), int(np.ceil(np.ptp(both) / width)) + 1)
    return np.histogram(p, edges)[0] / len(p), np.histogram(q, edges)[0] / len(q)
