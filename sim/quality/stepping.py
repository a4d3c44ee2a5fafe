"""The steps of the optimizers that a training may have, as torch makes them, on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.training import OptimizerConfig

Floats = NDArray[np.float64]
Step: TypeAlias = Callable[[Sequence[Floats]], None]
"""Changes the parameters, given the slope of the loss in each."""
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


def make_step(config: OptimizerConfig, parameters: Sequence[Floats]) -> Step:
    """Steps of a fresh optimizer, which change `parameters` in place."""
    return _adam(config, parameters) if config.kind == "adam" else _sgd(config, parameters)


def _adam(config: OptimizerConfig, parameters: Sequence[Floats]) -> Step:
    """Kingma and Ba, Adam (ICLR 2015), with the weights' decay in the slope."""
    means, squares = ([np.zeros_like(each) for each in parameters] for _ in range(2))
    first, second = _BETAS
    num_steps = 0

    def step(slopes: Sequence[Floats]) -> None:
        nonlocal num_steps
        num_steps += 1
        rate = config.lr / (1.0 - first**num_steps)
        unbias = 1.0 / np.sqrt(1.0 - second**num_steps)
        for parameter, plain, mean, square in zip(parameters, slopes, means, squares, strict=True):
            slope = plain + config.weight_decay * parameter if config.weight_decay else plain
            mean += (1.0 - first) * (slope - mean)
            square += (1.0 - second) * (slope**2 - square)
            parameter -= rate * mean / (np.sqrt(square) * unbias + _EPSILON)

    return step


def _sgd(config: OptimizerConfig, parameters: Sequence[Floats]) -> Step:
    """Stochastic gradient descent with momentum; the first step is all slope."""
    speeds = [np.zeros_like(each) for each in parameters]

    def step(slopes: Sequence[Floats]) -> None:
        for parameter, slope, speed in zip(parameters, slopes, speeds, strict=True):
            speed *= config.momentum
            speed += slope + config.weight_decay * parameter
            parameter -= config.lr * speed

    return step
