"""Classifier two-sample test: how well a classifier tells the two windows apart.

D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, ICLR 2017; with logistic regression, and the area
under the ROC curve in place of the accuracy. Row i of a window, counted within the window, is in fold i mod 5: each
fold has its share of both windows and of all their time, and nothing is drawn. Features are standardised once, over
both windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.logistic import decision_values
from twinclock.drift.windows import Floats, scale_exponents

NUM_FOLDS = 5

_MAX_VALUES = 2**21
"""Divisions are dealt with in groups of at most so many log-odds (16 MB for each array in use), at least one."""


def c2st(x: Floats, y: Floats) -> float:
    """The mean over the folds of the area under the ROC curve of a classifier trained on the other four.

    Around 0.5 if the windows look alike, 1 if no row of the one looks like one of the other. Each window must
    have at least `NUM_FOLDS` rows, and no missing values.
    """
    is_reference = np.arange(len(x) + len(y)) < len(x)
    return float(c2st_of_divisions(x, y, is_reference[None])[0])


def c2st_of_divisions(x: Floats, y: Floats, in_reference: NDArray[np.bool_]) -> Floats:
    """The same for the pooled rows divided in other ways: (divisions, n + m), whether a row is in the reference."""
    features = _standardised(x, y)
    num_divisions = max(1, _MAX_VALUES // (NUM_FOLDS * len(features)))
    firsts = range(0, len(in_reference), num_divisions)
    return np.concatenate([_areas(features, in_reference[first : first + num_divisions]) for first in firsts])


def _areas(features: Floats, in_reference: NDArray[np.bool_]) -> Floats:
    in_current = ~in_reference
    places = np.where(in_reference, np.cumsum(in_reference, axis=1), np.cumsum(in_current, axis=1)) - 1
    held_out = np.concatenate([places % NUM_FOLDS == fold for fold in range(NUM_FOLDS)])
    labels = np.tile(in_current, (NUM_FOLDS, 1))
    scores = decision_values(features, labels, ~held_out)
    areas = [
        _area_under_roc(score[rows], label[rows]) for score, label, rows in zip(scores, labels, held_out, strict=True)
    ]
    means: Floats = np.reshape(areas, (NUM_FOLDS, -1)).mean(axis=0)
    return means


def _standardised(x: Floats, y: Floats) -> Floats:
    """Both windows, one below the other, each feature with mean 0 and variance 1; a constant one is 0."""
    both = np.concatenate([x, y])
    exponents = scale_exponents(both.T)
    both = np.ldexp(both, -exponents) if exponents.any() else both
    centred = both - both.mean(axis=0)
    deviations = np.sqrt((centred**2).mean(axis=0))
    is_constant = (both == both[0]).all(axis=0) | (deviations == 0)
    return np.where(is_constant, 0.0, centred / np.where(is_constant, 1.0, deviations))


def _area_under_roc(scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative that the scores put in order; a tie counts half."""
    from scipy.stats import rankdata

    num_positive = int(is_positive.sum())
    num_negative = len(is_positive) - num_positive
    above = rankdata(scores)[is_positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))
