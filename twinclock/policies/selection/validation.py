"""The newest samples of a training set, held out of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def num_held_out(num_samples: int, share: float) -> int:
    """How many of so many samples are held out."""
    return max(1, math.floor(share * num_samples))


def split(positions: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions to train on, and those held out."""
    num = num_held_out(len(positions), share)
    bound = np.sort(positions)[-num]
    return positions[positions < bound], positions[positions >= bound]
