"""Least squares of relative errors with no number below 0, in which what lies far off has less weight: that of Huber.

Far off are trainings at a cold start, or on a machine that was busy with something else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HUBER = 1.345
"""Robust deviations from which on an error counts in proportion, no more by its square."""
TO_SIGMA = 1.4826
"""From the median of absolute deviations to the standard deviation of a normal distribution."""
_ROUNDS = 50
_SEEN = 3.0
"""Standard errors from 0 at which one column's number is told from those of the others."""


def relative_fit(columns: NDArray[Any], seconds: NDArray[Any], *, precision: float = 1e-10) -> NDArray[Any]:
    """The numbers ≥ 0, one for each column, that bring their sum closest to `seconds`, in relative terms.

    The weights are found round by round, until the numbers change by no more than a share of `precision`.
    """
    from scipy.optimize import nnls

    relative = columns / seconds[:, None]
    norms = np.linalg.norm(relative, axis=0)
    scaled, weights = relative / norms, np.ones(len(relative))
    found = np.zeros(relative.shape[1])
    for _ in range(_ROUNDS):
        before = found
        found = nnls(scaled * weights[:, None], weights)[0]
        errors = np.abs(scaled @ found - 1)
        deviation = TO_SIGMA * float(np.median(errors))
        if deviation < 1e-12 or np.allclose(found, before, rtol=precision, atol=0):
            break
        weights = np.sqrt(np.minimum(1.0, HUBER * deviation / np.maximum(errors, 1e-300)))
    return np.asarray(found / norms)


def is_told(columns: NDArray[Any], seconds: NDArray[Any], found: NDArray[Any], column: int) -> bool:
    """Is a column's number further from 0 than noise would have it, given how like the column is to the others?"""
    relative = columns / seconds[:, None]
    scaled = relative / np.linalg.norm(relative, axis=0)
    own, others = scaled[:, column], np.delete(scaled, column, axis=1)
    apart = float(np.linalg.norm(own - others @ np.linalg.lstsq(others, own, rcond=None)[0]))
    if apart < 1e-6:
        return False
    noise = TO_SIGMA * float(np.median(np.abs(relative @ found - 1)))
    return bool(found[column] * np.linalg.norm(relative[:, column]) > _SEEN * noise / apart)
