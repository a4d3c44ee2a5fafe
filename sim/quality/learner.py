"""The proxy's learners: a linear softmax classifier, fitted to the end or by a few epochs of gradient descent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.quality.encoding import Encoder, Samples, extended_encoder, fitted_encoder

LEARNING_RATE = 0.1
"""Step of the gradient descent."""
MAX_ITERATIONS = 200
_ROWS = 8_192
"""Rows that are encoded at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Says of each row the class whose score is highest; of equal ones the first."""

    encoder: Encoder
    classes: NDArray[np.int64]
    """Label codes that it knows, ascending."""
    weights: NDArray[np.float64]
    """Shape (inputs, classes)."""
    bias: NDArray[np.float64]
    """Shape (classes,)."""

    def is_wrong(self, samples: Samples, first: int, stop: int) -> NDArray[np.float64]:
        """For each row of [first, stop) 1 if it says another class than the label, else 0."""
        wrong = np.empty(stop - first)
        for begin in range(first, stop, _ROWS):
            rows = slice(begin, min(stop, begin + _ROWS))
            said = self.classes[np.argmax(self.encoder.inputs(samples, rows) @ self.weights + self.bias, axis=1)]
            wrong[rows.start - first : rows.stop - first] = said != samples.labels[rows]
        return wrong


def logistic(samples: Samples, at: NDArray[np.int64]) -> Linear:
    """L2-regularised logistic regression (scikit-learn, C = 1, at most MAX_ITERATIONS steps) of the rows `at`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    at = np.sort(at)  # the order is nothing to it, but to the last bits
    encoder, labels = fitted_encoder(samples, at), samples.labels[at]
    classes = np.unique(labels)
    if len(classes) == 1:
        return Linear(encoder, classes, np.zeros((encoder.num_inputs, 1)), np.zeros(1))
    model = LogisticRegression(max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: it is a stand-in
        model.fit(encoder.inputs(samples, at), labels)
    weights, bias = model.coef_.T, model.intercept_
    if len(classes) == 2:  # scikit-learn keeps one column for two classes
        weights, bias = np.concatenate([-weights, weights], axis=1) / 2, np.array([-bias[0], bias[0]]) / 2
    return Linear(encoder, classes, weights, bias)


def descended(
    samples: Samples, at: NDArray[np.int64], *, epochs: int, batch_size: int, parent: Linear | None
) -> Linear:
    """Gradient descent on the cross-entropy, in minibatches of the rows in the order of `at`, the same each epoch.

    It begins at 0, or with what the parent knows; new categories and classes begin at 0.
    """
    labels = samples.labels[at]
    if parent is None:
        encoder, classes = fitted_encoder(samples, at), np.unique(labels)
        weights, bias = np.zeros((encoder.num_inputs, len(classes))), np.zeros(len(classes))
    else:
        encoder, classes = extended_encoder(parent.encoder, samples, at), np.union1d(parent.classes, labels)
        weights, bias = _widened(parent, encoder, classes)
    inputs, targets = encoder.inputs(samples, at), np.searchsorted(classes, labels)
    for begin in [*range(0, len(at), batch_size)] * epochs:
        x, y = inputs[begin : begin + batch_size], targets[begin : begin + batch_size]
        scores = x @ weights + bias
        slope = np.exp(scores - scores.max(axis=1, keepdims=True))
        slope /= slope.sum(axis=1, keepdims=True)
        slope[np.arange(len(y)), y] -= 1.0
        weights -= LEARNING_RATE / len(y) * (x.T @ slope)
        bias -= LEARNING_RATE / len(y) * slope.sum(axis=0)
    return Linear(encoder, classes, weights, bias)


def _widened(
    parent: Linear, encoder: Encoder, classes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parent's weights where another encoder and more classes have them."""
    rows = [np.arange(len(encoder.mean))]
    begin = len(encoder.mean)
    for old, new in zip(parent.encoder.categories, encoder.categories, strict=True):
        rows.append(begin + np.searchsorted(new, old))
        begin += len(new)
    columns = np.searchsorted(classes, parent.classes)
    weights, bias = np.zeros((encoder.num_inputs, len(classes))), np.zeros(len(classes))
    weights[np.ix_(np.concatenate(rows), columns)] = parent.weights
    bias[columns] = parent.bias
    return weights, bias
