"""Which samples of a training set are held out to see how a training gets on: its newest ones.

The share is taken as the decimal that the user wrote: 0.29 of 100 are 29.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def num_held_out(num_samples: int, share: float) -> int:
    """max(1, ⌊share · n⌋) of n samples; of a single one none, for something has to be trained on."""
    return min(max(0, num_samples - 1), max(1, int(Fraction(str(share)) * num_samples)))


def split(positions: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A training set, each position once: what is trained on, in the order given, and what is held out, sorted.

    Held out are the `num_held_out` largest positions, which are the newest samples.
    """
    in_order = np.sort(positions)
    held_out = in_order[len(positions) - num_held_out(len(positions), share) :]
    is_older = positions < held_out[0] if len(held_out) else np.ones(len(positions), bool)
    return positions[is_older], held_out
