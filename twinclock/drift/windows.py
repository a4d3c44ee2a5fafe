"""Two windows of features made fit for arithmetic: shape, missing values, and values near the limits of a float.

x is the reference, (n, d), and y the current window, (m, d), both float64. NaN and infinities are missing
values. Feature-wise distances leave them out, each in its feature and window; the others can't, and get the
mean of the feature's finite values in the reference instead, 0 if it has none.

Values beyond ±1e150 count as ±1e150, so that no square of a difference is too large for a float. Differences below
1e-162 have a square of 0, and are none to mmd and c2st.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

_LARGEST = 1e150


def checked(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats] | None:
    """Both windows as float64 with NaN for what is missing; None if one has fewer than two rows, or no feature.

    ValueError if they are not two tables with the same number of columns.
    """
    reference, current = (np.asarray(each, np.float64) for each in (x, y))
    if reference.ndim != 2 or current.ndim != 2 or reference.shape[1] != current.shape[1]:
        raise ValueError(f"windows of shapes (n, d) and (m, d) expected, not {reference.shape} and {current.shape}")
    if min(len(reference), len(current)) < 2 or reference.shape[1] == 0:
        return None
    return _limited(reference), _limited(current)


def sampled(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """At most n rows of x, drawn without replacement, in the order in which they stand in x."""
    if len(x) <= n:
        return x
    return x[np.sort(rng.choice(len(x), n, replace=False))]


def features(x: Floats, y: Floats) -> Iterator[tuple[Floats, Floats] | None]:
    """The values of each feature that are there in either window.

    None if one of them has fewer than two, or if all are one and the same: such a feature counts 0.
    """
    for column_x, column_y in zip(x.T, y.T, strict=True):
        p, q = column_x[~np.isnan(column_x)], column_y[~np.isnan(column_y)]
        is_varied = min(len(p), len(q)) >= 2 and not (np.all(p == p[0]) and np.all(q == p[0]))
        yield (p, q) if is_varied else None


def completed(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both windows without missing values: each is the mean of its feature in the reference, 0 if that is empty."""
    means = np.nansum(x, axis=0) / np.maximum((~np.isnan(x)).sum(axis=0), 1)
    return np.where(np.isnan(x), means, x), np.where(np.isnan(y), means, y)


def _limited(window: Floats) -> Floats:
    return np.where(np.isfinite(window), np.clip(window, -_LARGEST, _LARGEST), np.nan)
