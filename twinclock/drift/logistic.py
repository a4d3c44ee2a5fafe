"""Logistic regression of many labellings of the same rows at once.

A permutation test fits a thousand small regressions that differ in nothing but labels and rows left out. Taken
together they are a few products of matrices, many times as fast as one fit after the other. The optimum is that
of scikit-learn's `LogisticRegression` with its defaults.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twinclock.drift.windows import Floats

_MAX_STEPS = 200
_GRADIENT_TOLERANCE = 1e-9
"""Of the mean loss, where fitting ends."""
_STEP_TOLERANCE = 1e-3
"""How exactly a Newton step is computed, relative to the gradient."""


def decision_values(features: Floats, labels: NDArray[np.bool_], is_training: NDArray[np.bool_]) -> Floats:
    """What each regression says of each row: its log-odds, (problems, rows).

    features: (rows, d); labels, is_training: (problems, rows). Each regression minimises the log loss, summed
    over its training rows, plus half the squared norm of its weights; the intercept is not penalised.

    Newton's method. A step that moves the log-odds of no row by more than r is shortened to ln(1 + r)/r of itself: the
    loss then falls, whatever the data (F. Bach, Self-concordant analysis for logistic regression, Electronic
    Journal of Statistics 4, 2010, proposition 1).
    """
    from scipy.special import expit

    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    penalties = np.append(np.ones(features.shape[1]), 0.0)
    counted = is_training.astype(np.float64)
    weights = np.zeros((len(labels), inputs.shape[1]))
    odds = np.zeros(labels.shape)
    for _ in range(_MAX_STEPS):
        probabilities = expit(odds)
        gradients = (counted * (probabilities - labels)) @ inputs + penalties * weights
        if np.abs(gradients).max() <= _GRADIENT_TOLERANCE * len(features):
            break
        curvatures = counted * probabilities * (1 - probabilities)
        steps = _solved(_hessians(inputs, curvatures, penalties), gradients)
        moves = steps @ inputs.T
        furthest = np.abs(moves).max(axis=1, keepdims=True)
        lengths = np.log1p(furthest) / np.maximum(furthest, np.finfo(np.float64).tiny)
        lengths[furthest == 0] = 1.0
        weights -= lengths * steps
        odds -= lengths * moves
    return odds


def _hessians(inputs: Floats, curvatures: Floats, penalties: Floats) -> Callable[[Floats], Floats]:
    """The product of each problem's matrix of second derivatives with a vector of its own, (problems, d + 1)."""
    return lambda vectors: (curvatures * (vectors @ inputs.T)) @ inputs + penalties * vectors


def _solved(product: Callable[[Floats], Floats], right_sides: Floats) -> Floats:
    """Conjugate gradients: vectors whose product is the right side, nearly, for all problems side by side."""
    solutions = np.zeros_like(right_sides)
    residuals = right_sides.copy()
    directions = right_sides.copy()
    norms = (residuals**2).sum(axis=1, keepdims=True)
    enough = _STEP_TOLERANCE**2 * norms
    smallest = np.finfo(np.float64).tiny
    for _ in range(2 * right_sides.shape[1]):
        if (norms <= enough).all():
            break
        products = product(directions)
        lengths = norms / np.maximum((directions * products).sum(axis=1, keepdims=True), smallest)
        solutions += lengths * directions
        residuals -= lengths * products
        before, norms = norms, (residuals**2).sum(axis=1, keepdims=True)
        directions = residuals + norms / np.maximum(before, smallest) * directions
    return solutions
