"""Classifier two-sample test: how well a classifier tells the two windows apart.

D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, ICLR 2017; with logistic regression, and the area
under the ROC curve in place of the accuracy. Row i of a window, counted within the window, is in fold i mod 5: each
fold has its share of both windows and of all their time, and nothing is drawn. Features are standardised once, over
both windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats, scale_exponents

NUM_FOLDS = 5


def c2st(features: Floats, in_reference: NDArray[np.bool_]) -> float:
    """The mean over the folds of the area under the ROC curve of a classifier trained on the other four.

    features: of both windows, standardised, (n + m, d). Around 0.5 if the windows look alike, 1 if they never
    do. Each window must have at least `NUM_FOLDS` rows.
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    folds = np.where(in_reference, np.cumsum(in_reference) - 1, np.cumsum(~in_reference) - 1) % NUM_FOLDS
    areas = []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for fold in range(NUM_FOLDS):
            held_out = folds == fold
            classifier = LogisticRegression(max_iter=1000).fit(features[~held_out], ~in_reference[~held_out])
            areas.append(_area_under_roc(features[held_out] @ classifier.coef_[0], ~in_reference[held_out]))
    return float(np.mean(areas))


def standardised(x: Floats, y: Floats) -> Floats:
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
