"""Random streams keyed by what they are for, never by the order of drawing.

One more training must not shift any other draw, so each use has its own number and each trigger
(or position) its own key.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random stream is for. The numbers are part of every recorded result: add, never renumber."""

    SELECTION = 1
    ARRIVALS = 2
    TRAINING_NOISE = 3
    EVALUATION_NOISE = 4
    GATE_NOISE = 5
    DRIFT = 20
    DETECTOR = 21
    ERRORS = 22
    PROXY = 23
    CHANGE_POINTS = 30
    FAULTS = 31


def derived_seed(seed: int, purpose: int, *key: int) -> int:
    """A 63-bit seed of its own for (purpose, key): numbers such as a trigger's serial."""
    sequence = np.random.SeedSequence(seed, spawn_key=(int(purpose), *key))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
