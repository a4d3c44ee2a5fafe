"""Maximum mean discrepancy: how far the means of two windows lie apart in the feature space of a kernel.

A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf, A. Smola, A kernel two-sample test, JMLR 13 (2012), equation 3:
the unbiased estimate of MMD², which is around 0, and as often below it as above, where the windows have one
distribution. The kernel is exp(−‖a − b‖²/s), s the lower median of ‖xi − xj‖² over the pairs within the reference.
If that is 0 (most rows of the reference are copies of one another) the kernel is what it tends to as s does:
1 for equal rows, else 0.

The median takes 8 bytes a pair, 1 GiB for 16,384 rows. Of a longer reference it is taken over every second row, every
third if that is still too many, and so on, always from the first. All rows count for everything else. The kernel is
computed in blocks, each used and thrown away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats

_MAX_MEDIAN_ROWS = 2**14
_BLOCK_VALUES = 2**18
"""Values of the kernel at a time: 2 MB, which stay in the cache of a core."""


def mmd(x: Floats, y: Floats) -> float:
    """Unbiased MMD² of two windows without missing values; below 0 by chance, at most 2."""
    is_reference = np.arange(len(x) + len(y)) < len(x)
    return float(mmd_of_divisions(x, y, is_reference[None])[0])


def mmd_of_divisions(x: Floats, y: Floats, in_reference: NDArray[np.bool_]) -> Floats:
    """MMD² of the pooled rows divided in other ways, (divisions,).

    in_reference: (divisions, n + m), whether a row belongs to the reference; n of them in each division. The
    kernel is that of x and y, one for all divisions, so each pair of rows is compared once.
    """
    from scipy.spatial.distance import cdist

    scale = lower_median_squared_distance(x)
    both, n, m = np.concatenate([x, y]), len(x), len(y)
    in_x = in_reference.T.astype(np.float64)
    within_x, within_y, between = np.zeros((3, len(in_reference)))
    num_rows = max(1, _BLOCK_VALUES // len(both))
    for first in range(0, len(both), num_rows):
        rows = slice(first, first + num_rows)
        similarities = _kernel(cdist(both[rows], both, "sqeuclidean"), scale)
        to_x = similarities @ in_x
        to_y = similarities.sum(axis=1, keepdims=True) - to_x
        within_x += (in_x[rows] * to_x).sum(axis=0)
        within_y += ((1 - in_x[rows]) * to_y).sum(axis=0)
        between += (in_x[rows] * to_y).sum(axis=0)
    # a row is wholly similar to itself: n and m such pairs, which are none
    estimates: Floats = (within_x - n) / (n * (n - 1)) + (within_y - m) / (m * (m - 1)) - 2 * between / (n * m)
    return estimates


def lower_median_squared_distance(x: Floats) -> float:
    """The lower median of ‖xi − xj‖² over all pairs of rows, or of evenly spaced rows if there are too many."""
    from scipy.spatial.distance import pdist

    step = -(-len(x) // _MAX_MEDIAN_ROWS)
    distances = pdist(x[::step], "sqeuclidean")
    middle = (len(distances) - 1) // 2
    distances.partition(middle)
    return float(distances[middle])


def _kernel(squared_distances: Floats, scale: float) -> Floats:
    """Its values, written over the squared distances where that is possible."""
    if scale == 0:
        return np.equal(squared_distances, 0).astype(np.float64)
    with np.errstate(over="ignore"):  # −∞ is far enough away
        squared_distances /= -scale
        return np.exp(squared_distances, out=squared_distances)
