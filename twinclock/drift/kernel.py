"""Maximum mean discrepancy: how far the means of two windows lie apart in the feature space of a kernel.

A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf, A. Smola, A kernel two-sample test, JMLR 13 (2012), equation 3:
the unbiased estimate of MMD², which is around 0, and as often below it as above, where the windows have one
distribution. The kernel is exp(−‖a − b‖²/s), s the lower median of ‖xi − xj‖² over the pairs within the reference.
If that is 0 (most rows of the reference are copies of one another) the kernel is what it tends to as s does:
1 for equal rows, else 0.

Distances are computed in blocks, each used and thrown away, so two windows of 10,000 take some tens of MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats, scale_exponents

_BLOCK_VALUES = 2**18
"""Distances at a time: 2 MB, which stay in the cache of a core."""
_WIDE_BLOCK_VALUES = 2**21
"""The same where each block is multiplied with a matrix of as many rows: 16 MB, so that this is read less often."""
_MAX_KEPT = 2**22
"""Distances kept together to find their median: 32 MB."""
_DIGIT_BITS = 16


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Windows in a unit in which their squared distances fit a float, and the kernel's scale in it."""

    x: Floats
    y: Floats
    scale: float


def mmd(x: Floats, y: Floats) -> float:
    """Unbiased MMD² of two windows without missing values; below 0 by chance, at most 2."""
    ready = _prepared(x, y)
    n, m = len(x), len(y)
    within_x, within_y = (
        2 * sum(_similarities(block, ready.scale).sum() for block in _pair_blocks(each)) for each in (ready.x, ready.y)
    )
    between = sum(_similarities(block, ready.scale).sum() for _, block in _row_blocks(ready.x, ready.y, _BLOCK_VALUES))
    return float(within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m))


def mmd_of_divisions(x: Floats, y: Floats, in_reference: NDArray[np.bool_]) -> Floats:
    """MMD² of the pooled rows divided in other ways.

    in_reference: (divisions, n + m), whether a row belongs to the reference; n of them in each division. The
    kernel is that of x and y, one for all divisions, so each pair of rows is compared once.
    """
    ready = _prepared(x, y)
    both = np.concatenate([ready.x, ready.y])
    n, m = len(x), len(y)
    members = in_reference.T.astype(np.float64)
    within_x = np.zeros(len(in_reference))
    row_sums = np.empty(len(both))
    for rows, block in _row_blocks(both, both, _WIDE_BLOCK_VALUES):
        similarities = _similarities(block, ready.scale)
        within_x += (members[rows] * (similarities @ members)).sum(axis=0)
        row_sums[rows] = similarities.sum(axis=1)
    with_all = row_sums @ members
    between = with_all - within_x
    within_y = row_sums.sum() - with_all - between
    # a row is wholly similar to itself: n and m such pairs, which are none
    estimates: Floats = (within_x - n) / (n * (n - 1)) + (within_y - m) / (m * (m - 1)) - 2 * between / (n * m)
    return estimates


def lower_median_squared_distance(x: Floats) -> float:
    """The lower median of ‖xi − xj‖² over all pairs of rows, exact for any number of rows."""
    num_pairs = len(x) * (len(x) - 1) // 2
    return _kth_smallest(lambda: _pair_blocks(x), num_pairs, (num_pairs - 1) // 2)


def _prepared(x: Floats, y: Floats) -> _Prepared:
    """A median that is 0 or infinite may be so only because of the unit: then the reference's largest value is it."""
    scale = lower_median_squared_distance(x)
    exponent = scale_exponents(x.reshape(1, -1))[0]
    if exponent == 0 or 0 < scale < np.inf:
        return _Prepared(x, y, scale)
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        x, y = np.ldexp(x, -exponent), np.clip(np.ldexp(y, -exponent), -largest, largest)
    return _Prepared(x, y, lower_median_squared_distance(x))


def _similarities(squared_distances: Floats, scale: float) -> Floats:
    """The kernel's values, written over the squared distances."""
    if scale == 0:
        return np.equal(squared_distances, 0.0, out=squared_distances, casting="unsafe")
    with np.errstate(over="ignore", under="ignore"):
        squared_distances /= -scale
        return np.exp(squared_distances, out=squared_distances)


def _row_blocks(x: Floats, y: Floats, max_values: int) -> Iterator[tuple[slice, Floats]]:
    """Squared distances from some rows of x to all of y, and which rows they are."""
    from scipy.spatial.distance import cdist

    num_rows = max(1, max_values // len(y))
    for first in range(0, len(x), num_rows):
        rows = slice(first, min(first + num_rows, len(x)))
        yield rows, cdist(x[rows], y, "sqeuclidean")


def _pair_blocks(x: Floats) -> Iterator[Floats]:
    """Squared distances between the rows of x, each pair once, in flat arrays."""
    from scipy.spatial.distance import cdist, pdist

    num_rows = max(2, _BLOCK_VALUES // len(x))
    for first in range(0, len(x), num_rows):
        rows, after = x[first : first + num_rows], x[first + num_rows :]
        if len(rows) > 1:
            yield pdist(rows, "sqeuclidean")
        if len(after):
            yield cdist(rows, after, "sqeuclidean").ravel()


def _kth_smallest(blocks: Callable[[], Iterator[Floats]], num_values: int, rank: int) -> float:
    """The value at `rank`, from 0, among those of all blocks, which are gone through again until few are left.

    Floats that are not negative are in the order of their bits. So they are counted by their first 16 bits, then
    those that share the right first 16 by the next, until what is left can be kept.
    """
    prefix, bits = 0, 63
    while num_values > _MAX_KEPT and bits > 0:
        width = min(_DIGIT_BITS, bits)
        counts = np.zeros(2**width, np.int64)
        for block in blocks():
            left = _starting_with(block, prefix, bits)
            counts += np.bincount((left >> (bits - width)) & (2**width - 1), minlength=2**width)
        up_to = np.cumsum(counts)
        digit = int(np.searchsorted(up_to, rank, side="right"))
        rank -= int(up_to[digit] - counts[digit])
        num_values = int(counts[digit])
        prefix, bits = (prefix << width) | digit, bits - width
    if bits == 0:
        return float(np.array(prefix, np.int64).view(np.float64))
    kept = np.concatenate([_starting_with(block, prefix, bits) for block in blocks()])
    return float(np.partition(kept, rank)[rank].view(np.float64))


def _starting_with(values: Floats, prefix: int, bits: int) -> NDArray[np.int64]:
    """Those of the values, as integers, that are `prefix` without their last bits."""
    as_integers = values.view(np.int64)
    chosen: NDArray[np.int64] = as_integers[as_integers >> bits == prefix]
    return chosen
