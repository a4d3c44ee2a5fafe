"""The regressions of the classifier test, fitted together, against scikit-learn, fitted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from twinclock.drift.logistic import decision_values


def one_by_one(features, labels, is_training) -> np.ndarray:
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=10_000)
    found = [
        exact.fit(features[rows], label[rows]).decision_function(features)
        for label, rows in zip(labels, is_training, strict=True)
    ]
    return np.array(found)


def features_of(kind: str, rng: np.random.Generator) -> np.ndarray:
    features = rng.normal(size=(60, 4))
    if kind == "copies":
        features[:, 1:] = features[:, :1]
    elif kind == "outliers":
        features[0], features[40, 2] = 30.0, -100.0
    elif kind == "nothing":
        features[:] = 0.0
    return features


@pytest.mark.parametrize("kind", ["plain", "copies", "outliers", "nothing"])
def test_the_optimum_is_that_of_scikit_learn(kind):
    rng = np.random.default_rng(0)
    features = features_of(kind, rng)
    labels = rng.random((6, 60)) < [[0.5], [0.5], [0.5], [0.2], [0.9], [0.5]]
    labels[0] = features[:, 0] > 0  # can be told apart without a mistake
    labels[1] = features[:, 0] > 1
    labels[:, 0], labels[:, 1] = True, False
    is_training = rng.random((6, 60)) < 0.8
    is_training[:, :2] = True
    found = decision_values(features, labels, is_training)
    np.testing.assert_allclose(found, one_by_one(features, labels, is_training), rtol=0, atol=1e-6)


def test_problems_have_nothing_to_do_with_each_other():
    rng = np.random.default_rng(1)
    features, labels, is_training = rng.normal(size=(50, 3)), rng.random((4, 50)) < 0.5, rng.random((4, 50)) < 0.8
    together = decision_values(features, labels, is_training)
    for k in range(4):
        alone = decision_values(features, labels[k : k + 1], is_training[k : k + 1])
        np.testing.assert_allclose(together[k], alone[0], rtol=0, atol=1e-7)


def test_rows_left_out_decide_nothing():
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(50, 3)), rng.random((1, 50)) < 0.5
    is_training = rng.random((1, 50)) < 0.7
    others = np.where(is_training, labels, ~labels)
    np.testing.assert_array_equal(
        decision_values(features, labels, is_training), decision_values(features, others, is_training)
    )
