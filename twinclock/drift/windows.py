"""Two windows of features made fit for arithmetic: shape, missing values, and values near the limits of a float.

x is the reference, (n, d), and y the current window, (m, d), both float64. NaN and infinities are missing
values. Feature-wise distances leave them out, each in its feature and window; the others can't, and get the
mean of the feature's finite values in the reference instead, 0 if it has none.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

_SAFE_EXPONENT = 500
"""Values within 2^±500 have squares that a float can hold."""


def checked(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats] | None:
    """Both windows as float64; None if one has fewer than two rows, or there is no feature.

    ValueError if they are not two tables with the same number of columns.
    """
    reference, current = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if reference.ndim != 2 or current.ndim != 2 or reference.shape[1] != current.shape[1]:
        raise ValueError(f"windows of shapes (n, d) and (m, d) expected, not {reference.shape} and {current.shape}")
    if min(len(reference), len(current)) < 2 or reference.shape[1] == 0:
        return None
    return reference, current


def sampled(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """At most n rows of x, drawn without replacement, in the order in which they stand in x."""
    if len(x) <= n:
        return x
    return x[np.sort(rng.choice(len(x), n, replace=False))]


def completed(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both windows without missing values: each is the mean of its feature in the reference, 0 if that is empty."""
    if np.isfinite(x).all() and np.isfinite(y).all():
        return x, y
    finite = np.isfinite(x)
    num_finite = np.maximum(finite.sum(axis=0), 1)
    means = (np.where(finite, x, 0.0) / num_finite).sum(axis=0)  # divided first: the sum of huge values has no float
    return np.where(finite, x, means), np.where(np.isfinite(y), y, means)


def scale_exponents(pooled: Floats) -> NDArray[np.int64]:
    """For each row, the power of two to divide it by so that squares neither overflow nor vanish; 0 for most.

    NaN is skipped; infinities must be gone.
    """
    largest = np.fmax.reduce(np.abs(pooled), axis=1, initial=0.0)
    exponents = np.frexp(largest)[1].astype(np.int64)
    return np.where(np.abs(exponents) > _SAFE_EXPONENT, exponents, 0)
