"""Classifier two-sample test: how well a classifier tells the two windows apart.

D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, ICLR 2017; with logistic regression, and the area
under the ROC curve in place of the accuracy. Row i of a window, counted within the window, is in fold i mod 5: each
fold has its share of both windows and of all their time, and nothing is drawn. Features are standardised once, over
both windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats

NUM_FOLDS = 5

_MAX_STEPS = 1000
"""Of lbfgs. Standardised features take some tens."""


def c2st(x: Floats, y: Floats) -> float:
    """The mean over the folds of the area under the ROC curve of a classifier trained on the other four.

    Around 0.5 if the windows look alike, 1 if no row of the one looks like one of the other. Each window must
    have at least `NUM_FOLDS` rows, and no missing values. Five fits take about 20 ms however small the windows are:
    scikit-learn is told to skip its checks and to fit on one thread, for several wait for one another most of the time.
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    is_current = np.arange(len(x) + len(y)) >= len(x)
    folds = np.concatenate([np.arange(len(x)), np.arange(len(y))]) % NUM_FOLDS
    areas = []
    with threadpool_limits(1, user_api="blas"), config_context(assume_finite=True, skip_parameter_validation=True):
        standardised = StandardScaler().fit_transform(np.concatenate([x, y]))
        model = LogisticRegression(max_iter=_MAX_STEPS)
        for fold in range(NUM_FOLDS):
            tested = folds == fold
            model.fit(standardised[~tested], is_current[~tested])
            areas.append(_area_under_roc(model.decision_function(standardised[tested]), is_current[tested]))
    return float(np.mean(areas))


def _area_under_roc(scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative that the scores put in order; a tie counts half.

    That of `sklearn.metrics.roc_auc_score`, which takes as long as a fit, by the ranks.
    """
    from scipy.stats import rankdata

    n = np.count_nonzero(is_positive)
    above = rankdata(scores)[is_positive].sum() - n * (n + 1) / 2
    return float(above / (n * (len(scores) - n)))
