"""The proxy's model: layers of weights, what they say of a row, and the slope of the loss in each of them.

Without a hidden layer it is a linear softmax classifier, otherwise a multi-layer perceptron with rectified units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.quality.encoding import Encoder, Samples

Floats = NDArray[np.float64]
_ROWS = 8_192
"""Rows that are encoded at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Numbers in, numbers out: in · weights + bias."""

    weights: Floats
    """Shape (in, out)."""
    bias: Floats
    """Shape (out,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Says of each row the class whose score is highest; of equal ones the first."""

    encoder: Encoder
    classes: NDArray[np.int64]
    """Label codes that it knows, ascending."""
    layers: tuple[Layer, ...]
    """The last one gives the scores."""

    @property
    def is_finite(self) -> bool:
        """False after a training that diverged."""
        return all(bool(np.isfinite(each).all()) for layer in self.layers for each in (layer.weights, layer.bias))

    def is_wrong(self, samples: Samples, first: int, stop: int) -> Floats:
        """For each row of [first, stop) 1 if it says another class than the label, else 0."""
        wrong = np.empty(stop - first)
        for begin in range(first, stop, _ROWS):
            rows = slice(begin, min(stop, begin + _ROWS))
            with np.errstate(over="ignore", invalid="ignore"):  # weights may be finite and still enormous
                *_, scores = outputs(self.layers, self.encoder.inputs(samples, rows))
            said = self.classes[np.argmax(scores, axis=1)]
            wrong[rows.start - first : rows.stop - first] = said != samples.labels[rows]
        return wrong


def outputs(layers: Sequence[Layer], inputs: Floats) -> list[Floats]:
    """What goes into each layer, and last the scores, shape (rows, classes)."""
    found = [inputs]
    for layer in layers[:-1]:
        found.append(np.maximum(found[-1] @ layer.weights + layer.bias, 0.0))
    found.append(found[-1] @ layers[-1].weights + layers[-1].bias)
    return found


def slopes(layers: Sequence[Layer], inputs: Floats, targets: NDArray[np.int64]) -> list[Floats]:
    """Slopes of the mean cross-entropy in weights and bias of the first layer, of the second, and so forth."""
    *entering, scores = outputs(layers, inputs)
    slope = np.exp(scores - scores.max(axis=1, keepdims=True))
    slope /= slope.sum(axis=1, keepdims=True)
    slope[np.arange(len(targets)), targets] -= 1.0
    slope /= len(targets)
    found: list[Floats] = []
    for number in range(len(layers) - 1, -1, -1):
        entered = entering[number]
        found[:0] = [entered.T @ slope, slope.sum(axis=0)]
        if number > 0:
            slope = (slope @ layers[number].weights.T) * (entered > 0.0)
    return found
