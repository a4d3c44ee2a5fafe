"""The proxy's learners: a linear classifier fitted to the end, or a network that is trained as the real model is."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sim.quality.encoding import Encoder, Samples, extended_encoder, fitted_encoder
from sim.quality.network import Layer, Network, slopes
from sim.quality.stepping import make_step
from twinclock.training import MlpConfig, TrainingConfig

MAX_ITERATIONS = 200
WIDEST = 64
"""Units of a hidden layer at most: it is a stand-in, and stays small."""


def logistic(samples: Samples, at: NDArray[np.int64]) -> Network:
    """L2-regularised logistic regression (scikit-learn, C = 1, at most MAX_ITERATIONS steps) of the rows `at`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    at = np.sort(at)  # the order is nothing to it, but to the last bits
    encoder, labels = fitted_encoder(samples, at), samples.labels[at]
    classes = np.unique(labels)
    if len(classes) == 1:
        return Network(encoder, classes, (Layer(np.zeros((encoder.num_inputs, 1)), np.zeros(1)),))
    model = LogisticRegression(max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: it is a stand-in
        model.fit(encoder.inputs(samples, at), labels)
    weights, bias = model.coef_.T, model.intercept_
    if len(classes) == 2:  # scikit-learn keeps one column for two classes
        weights, bias = np.concatenate([-weights, weights], axis=1) / 2, np.array([-bias[0], bias[0]]) / 2
    return Network(encoder, classes, (Layer(weights, bias),))


def descended(
    samples: Samples, at: NDArray[np.int64], training: TrainingConfig, *, seed: int, parent: Network | None
) -> Network:
    """A network after the epochs of a training, with its optimizer, in minibatches in the order of `at`.

    An `mlp` has as many hidden layers as there, of at most WIDEST units; any other model has none. It begins as the
    real one does, at 0 without hidden layers and else at small random weights, or with what the parent knows; new
    categories and classes then begin at 0.
    """
    labels = samples.labels[at]
    if parent is None:
        encoder, classes = fitted_encoder(samples, at), np.unique(labels)
        hidden = training.model.hidden if isinstance(training.model, MlpConfig) else ()
        widths = (encoder.num_inputs, *(min(width, WIDEST) for width in hidden), len(classes))
        layers = _fresh(widths, seed)
    else:
        encoder, classes = extended_encoder(parent.encoder, samples, at), np.union1d(parent.classes, labels)
        layers = _widened(parent, encoder, classes)
    inputs, targets = encoder.inputs(samples, at), np.searchsorted(classes, labels)
    step = make_step(training.optimizer, [each for layer in layers for each in (layer.weights, layer.bias)])
    size = training.batch_size
    with np.errstate(over="ignore", invalid="ignore"):  # a learning rate that is far too large is the user's
        for begin in [*range(0, len(at), size)] * training.epochs:
            step(slopes(layers, inputs[begin : begin + size], targets[begin : begin + size]))
    return Network(encoder, classes, layers)


def _fresh(widths: tuple[int, ...], seed: int) -> tuple[Layer, ...]:
    """Weights as torch's linear layers have them at first, or 0 where there is no symmetry to break."""
    if len(widths) == 2:
        return (Layer(np.zeros(widths), np.zeros(widths[-1])),)
    rng = np.random.default_rng(seed)
    layers = []
    for entering, leaving in pairwise(widths):
        reach = 1.0 / np.sqrt(max(1, entering))
        layers.append(Layer(rng.uniform(-reach, reach, (entering, leaving)), rng.uniform(-reach, reach, leaving)))
    return tuple(layers)


def _widened(parent: Network, encoder: Encoder, classes: NDArray[np.int64]) -> tuple[Layer, ...]:
    """The parent's layers, the first with more inputs and the last with more classes."""
    layers = [Layer(each.weights.copy(), each.bias.copy()) for each in parent.layers]
    first = layers[0]
    weights = np.zeros((encoder.num_inputs, first.weights.shape[1]))
    weights[encoder.places_of(parent.encoder)] = first.weights
    layers[0] = Layer(weights, first.bias)
    last = layers[-1]
    columns = np.searchsorted(classes, parent.classes)
    weights, bias = np.zeros((last.weights.shape[0], len(classes))), np.zeros(len(classes))
    weights[:, columns], bias[columns] = last.weights, last.bias
    layers[-1] = Layer(weights, bias)
    return tuple(layers)
