"""How likely a distance at least this large is if both windows have one distribution.

ks and cvm have tests of their own, those of scipy. They are made feature by feature, and the smallest p-value times
the number of features, at most 1, is the answer (Bonferroni). mmd, energy and c2st are tested by permutation: the rows
of both windows are dealt out anew 200 times, and the share of distances that reach the one found is the answer, the
one found included: (1 + number)/201. energy is there the mean over features, as the distance is: one p-value
and not one for each feature, for 1/201 times the number of features would hardly ever be small.
wasserstein, hellinger, js and psi have no test.

A permutation test takes 200 times as long as its distance: with windows of 1,000 rows of 32 features that of energy
takes 2 s, and that of c2st, 1,000 fits, 5 s, and not much less with smaller windows. mmd compares each pair of rows
once and takes a fraction of a second.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinclock.drift.classifier import NUM_FOLDS, c2st
from twinclock.drift.distances import feature_mean
from twinclock.drift.kernel import mmd_of_divisions
from twinclock.drift.windows import Floats, checked, completed, features

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
        return _smallest(name, *windows)
    n, m = map(len, windows)
    as_found = np.arange(n + m) < n
    permuted = rng.permuted(np.tile(as_found, (NUM_PERMUTATIONS, 1)), axis=1)
    found, *others = _of_divisions(name, *windows, np.concatenate([as_found[None], permuted]))
    tolerance = _SAME * max(abs(found), *map(abs, others))
    num_reached = sum(1 for other in others if other >= found - tolerance)
    return (1 + num_reached) / (1 + NUM_PERMUTATIONS)


def _smallest(name: str, x: Floats, y: Floats) -> float:
    """The smallest p-value over the features times their number. A feature that counts 0 is no evidence."""
    from scipy.stats import cramervonmises_2samp, ks_2samp

    test = ks_2samp if name == "ks" else cramervonmises_2samp
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an exact p-value that can't be had is approximated
        found = [float(test(*each).pvalue) for each in features(x, y) if each is not None]
    return min(1.0, min(found, default=1.0) * len(x.T))


def _of_divisions(name: str, x: Floats, y: Floats, divisions: NDArray[np.bool_]) -> list[float]:
    """The distance for each way to divide the pooled rows: (divisions, n + m), whether a row is in the reference."""
    if name == "energy":
        both = np.concatenate([x, y])
        return [feature_mean(name, both[each], both[~each]) for each in divisions]
    x, y = completed(x, y)
    if name == "mmd":
        return list(mmd_of_divisions(x, y, divisions))
    both = np.concatenate([x, y])
    return [c2st(both[each], both[~each]) for each in divisions]
