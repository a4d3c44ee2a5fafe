"""The proxy's learners: a linear classifier fitted to the end, or a network that is trained as the real model is."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sim.quality.encoding import Encoder, Samples, extended_encoder, fitted_encoder
from sim.quality.network import Layer, Network, slopes
from sim.quality.stepping import make_step
from twinclock.training import MlpConfig, ModelConfig, TrainingConfig

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
    """A network after the epochs of a training, with its optimizer, in steps of samples in the order of `at`.

    An `mlp` has as many hidden layers as there, of at most WIDEST units; any other model has none. It begins as the
    real one does: an `mlp` at small random weights, any other at 0; or with what the parent knows, and only new inputs
    and classes so. A learning rate that is far too large leaves weights that are not finite.
    """
    labels = samples.labels[at]
    if parent is None:
        encoder, classes = fitted_encoder(samples, at), np.unique(labels)
        layers = _fresh(training.model, encoder.num_inputs, len(classes), seed)
    else:
        encoder, classes = extended_encoder(parent.encoder, samples, at), np.union1d(parent.classes, labels)
        layers = _fresh(training.model, encoder.num_inputs, len(classes), seed)
        _inherit(layers, encoder, classes, parent)
    inputs, targets = encoder.inputs(samples, at), np.searchsorted(classes, labels)
    step = make_step(training.optimizer, [each for layer in layers for each in (layer.weights, layer.bias)])
    size = training.batch_size * training.accumulate
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in [*range(0, len(at), size)] * training.epochs:
            step(slopes(layers, inputs[begin : begin + size], targets[begin : begin + size]))
    return Network(encoder, classes, layers)


def _fresh(model: ModelConfig, num_inputs: int, num_classes: int, seed: int) -> tuple[Layer, ...]:
    """Weights as torch's linear layers have them at first; 0 where the model is convex: no symmetry is to be broken."""
    if not isinstance(model, MlpConfig):
        return (Layer(np.zeros((num_inputs, num_classes)), np.zeros(num_classes)),)
    rng = np.random.default_rng(seed)
    layers = []
    for entering, leaving in pairwise((num_inputs, *(min(width, WIDEST) for width in model.hidden), num_classes)):
        reach = 1.0 / np.sqrt(max(1, entering))
        layers.append(Layer(rng.uniform(-reach, reach, (entering, leaving)), rng.uniform(-reach, reach, leaving)))
    return tuple(layers)


def _inherit(layers: tuple[Layer, ...], encoder: Encoder, classes: NDArray[np.int64], parent: Network) -> None:
    """Write the parent's weights over those of the same inputs and classes."""
    rows, columns = encoder.places_of(parent.encoder), np.searchsorted(classes, parent.classes)
    for layer, old in zip(layers, parent.layers, strict=True):
        into = rows if layer is layers[0] else np.arange(len(layer.weights))
        out = columns if layer is layers[-1] else np.arange(len(layer.bias))
        layer.weights[np.ix_(into, out)] = old.weights
        layer.bias[out] = old.bias
