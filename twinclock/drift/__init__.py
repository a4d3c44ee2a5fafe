"""Drift in numbers: how far two windows of features lie apart, how likely that is by chance, and detectors on a scalar.

Pure: arrays in, numbers out. It knows of no trigger, no stage and no stream; when to ask and what to do with
the answer is for others to say.
"""

from twinclock.drift.detectors import DETECTORS, Detector, detect
from twinclock.drift.distances import DISTANCES, FEATURE_WISE, distance
from twinclock.drift.p_values import NUM_PERMUTATIONS, TESTABLE, p_value
from twinclock.drift.windows import sampled

__all__ = [
    "DETECTORS",
    "DISTANCES",
    "FEATURE_WISE",
    "NUM_PERMUTATIONS",
    "TESTABLE",
    "Detector",
    "detect",
    "distance",
    "p_value",
    "sampled",
]
