"""When one variant beats another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.statistics.observations import Floats


def dominates(gains: Floats) -> NDArray[np.bool_]:
    """Which rows beat which: at least as good in every column, and better in one.

    `gains`: (…, rows, columns), more is better. Gives (…, rows, rows): true at i, j where row i beats row j. A row with
    a NaN beats none and is beaten by none.
    """
    one, two = gains[..., :, None, :], gains[..., None, :, :]
    return np.logical_and((one >= two).all(axis=-1), (one > two).any(axis=-1))
