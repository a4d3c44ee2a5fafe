"""Classifier two-sample test: how well a classifier tells the two windows apart.

D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, ICLR 2017; with logistic regression, and the area
under the ROC curve in place of the accuracy. Row i of a window, counted within the window, is in fold i mod 5: each
fold has its share of both windows and of all their time, and nothing is drawn. Features are standardised once, over
both windows.
"""

from __future__ import annotations

import numpy as np

from twinclock.drift.windows import Floats

NUM_FOLDS = 5

_MAX_STEPS = 1000
"""Of lbfgs. Standardised features take some tens."""


def c2st(x: Floats, y: Floats) -> float:
    """The mean over the folds of the area under the ROC curve of a classifier trained on the other four.

    Around 0.5 if the windows look alike, 1 if no row of the one looks like one of the other. Each window must
    have at least `NUM_FOLDS` rows, and no missing values. It takes tens of milliseconds however small the windows are:
    scikit-learn makes five fits, each on one thread, for several would wait for one another most of the time.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_score
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    standardised = StandardScaler().fit_transform(np.concatenate([x, y]))
    is_current = np.arange(len(x) + len(y)) >= len(x)
    folds = PredefinedSplit(np.concatenate([np.arange(len(x)), np.arange(len(y))]) % NUM_FOLDS)
    model = LogisticRegression(max_iter=_MAX_STEPS)
    with threadpool_limits(1, user_api="blas"):
        return float(cross_val_score(model, standardised, is_current, cv=folds, scoring="roc_auc").mean())
