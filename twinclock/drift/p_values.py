"""How likely a distance at least this large is if both windows have one distribution.

ks and cvm have tests of their own. They are made feature by feature, and the smallest p-value times the number of
features, at most 1, is the answer (Bonferroni). mmd, energy and c2st are tested by permutation: the rows of both
windows are dealt out anew 200 times, and the share of distances that reach the one found is the answer, the one
found included: (1 + number)/201. energy is there the mean over features, as the distance is: one p-value
and not one for each feature, for 1/201 times the number of features would hardly ever be small.
wasserstein, hellinger, js and psi have no test.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinclock.drift import ranks
from twinclock.drift.classifier import NUM_FOLDS, c2st_of_divisions
from twinclock.drift.distances import feature_distances
from twinclock.drift.kernel import mmd_of_divisions
from twinclock.drift.windows import Floats, checked, completed

TESTABLE = ("mmd", "ks", "cvm", "energy", "c2st")
"""The distances that have a p-value."""
NUM_PERMUTATIONS = 200

_SAME = 1e-10
"""Distances that differ by less, relative to the largest, are one and the same up to rounding."""


def p_value(name: str, x: ArrayLike, y: ArrayLike, rng: np.random.Generator) -> float | None:
    """The p-value of the distance `name` between the reference x, (n, d), and the current window y, (m, d).

    rng deals out the permutations; ks and cvm draw nothing. None where the distance is None. ValueError for a
    name that is not in `TESTABLE`, or windows that are not tables of the same width.
    """
    if name not in TESTABLE:
        raise ValueError(f"no hypothesis test for {name!r}; expected one of {', '.join(TESTABLE)}")
    windows = checked(x, y)
    if windows is None or (name == "c2st" and min(map(len, windows)) < NUM_FOLDS):
        return None
    if name in ("ks", "cvm"):
        return _own(name, *windows)
    n, m = map(len, windows)
    divisions = np.tile(np.arange(n + m) < n, (1 + NUM_PERMUTATIONS, 1))
    rng.permuted(divisions[1:], axis=1, out=divisions[1:])  # the first stays as it was found
    found, *others = _of_divisions(name, *windows, divisions)
    tolerance = _SAME * max(abs(found), *map(abs, others))
    num_reached = sum(1 for other in others if other >= found - tolerance)
    return (1 + num_reached) / (1 + NUM_PERMUTATIONS)


def _own(name: str, x: Floats, y: Floats) -> float:
    """The smallest p-value of scipy's test over the features, times their number.

    Of features with equally many values in each window, the one with the largest statistic has the smallest
    p-value, so no other needs to be tested. A feature that counts 0 is no evidence: its p-value is 1.
    """
    from scipy.stats import cramervonmises_2samp, ks_2samp

    test = ks_2samp if name == "ks" else cramervonmises_2samp
    statistics = feature_distances(name, x, y)
    finite_x, finite_y = np.isfinite(x), np.isfinite(y)
    sizes = np.stack([finite_x.sum(axis=0), finite_y.sum(axis=0)])
    smallest = 1.0
    for size in np.unique(sizes, axis=1).T:
        candidates = np.flatnonzero((sizes == size[:, None]).all(axis=0))
        feature = candidates[statistics[candidates].argmax()]
        if statistics[feature] == 0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an exact p-value that can't be had is approximated
            tested = test(x[finite_x[:, feature], feature], y[finite_y[:, feature], feature])
        smallest = min(smallest, float(tested.pvalue))
    return min(1.0, smallest * float(x.shape[1]))


def _of_divisions(name: str, x: Floats, y: Floats, divisions: NDArray[np.bool_]) -> list[float]:
    """The distance for each way to divide the pooled rows: (divisions, n + m), whether a row is in the reference."""
    if name == "energy":
        sums = np.zeros(len(divisions))
        for pooled in ranks.pools(x, y):
            sums += [ranks.energy(ranks.split(pooled, division)).sum() for division in divisions]
        return list(sums / x.shape[1])
    reference, current = completed(x, y)
    if name == "mmd":
        return list(mmd_of_divisions(reference, current, divisions))
    return list(c2st_of_divisions(reference, current, divisions))
