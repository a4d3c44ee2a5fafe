"""Learning curves: how accurate a fresh model is, by how much it was trained on.

n is the number of samples that count (see `knowledge`), x = n · epochs the number of samples gone through.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from sim.numbers import NotNegative, Share
from twinclock.section import ListOf, Section

_GRID = 64
"""Values of b2 that a fit begins with."""
_SMALL = 1e-9


class SaturatingCurve(Section):
    """floor + (peak − floor) · n / (n + half_samples); epochs do not count.

    The hyperbola that `decay` has as well: the simplest curve with one scale, not taken from a measurement.
    """

    kind: Literal["saturating"] = "saturating"
    peak: Share = 0.9
    """Accuracy of a fresh model trained on unlimited data."""
    half_samples: NotNegative = 1000.0
    """Samples that give half of what there is to gain."""


class InverseCurve(Section):
    """1 − (1 / (b0 · x + b1) + b2), at least `floor`, over x samples gone through.

    Ekya (Bhardwaj et al., NSDI 2022), which took it over from Optimus (Peng et al., EuroSys 2018) and fitted it
    by non-negative least squares. b0 is per sample, b1 and b2 are pure numbers; 1 − b2 is what unlimited training
    would give.
    """

    kind: Literal["inverse"] = "inverse"
    b0: NotNegative
    """How fast it is learned, per sample gone through."""
    b1: NotNegative
    """Where the curve begins: 1 − 1 / b1 − b2 without any training."""
    b2: Share = 0.0
    """Errors that no training takes away."""


def _point(value: object) -> object:
    """Samples gone through, and the accuracy there. ValueError if it is anything else."""
    if isinstance(value, list | tuple) and len(value) == 2:
        is_number = [isinstance(each, int | float) and not isinstance(each, bool) for each in value]
        if all(is_number) and (value[0] == 0 or 1 <= value[0] <= 1e18) and 0 <= value[1] <= 1:
            return float(value[0]), float(value[1])
    raise ValueError("expected [samples gone through, accuracy], such as [5000, 0.71]")


class FittedCurve(Section):
    """The `inverse` curve that goes best through points that were measured."""

    kind: Literal["fitted"] = "fitted"
    points: ListOf[Annotated[tuple[float, float], BeforeValidator(_point)]] = Field(min_length=3)
    """[samples gone through (samples · epochs), accuracy] each."""

    @model_validator(mode="after")
    def _enough(self) -> FittedCurve:
        if len({seen for seen, _ in self.points}) < 3:
            raise ValueError("expected points at three or more different numbers of samples")
        return self


LearningConfig: TypeAlias = Annotated[SaturatingCurve | InverseCurve | FittedCurve, Field(discriminator="kind")]


def fresh_accuracy(curve: LearningConfig, *, num_samples: float, epochs: int, floor: float) -> float:
    """Accuracy of a model that nothing has drifted away from, in [floor, 1]."""
    match curve:
        case SaturatingCurve():
            learned = num_samples / (num_samples + curve.half_samples) if num_samples else 0.0
            return floor + (curve.peak - floor) * learned
        case InverseCurve():
            return max(floor, inverse(curve, num_samples * epochs))
        case FittedCurve():
            return max(floor, inverse(fit_inverse(curve.points), num_samples * epochs))


def inverse(curve: InverseCurve, seen: float) -> float:
    """The curve at `seen` samples gone through, cut off below 0: it has no meaning where 1 / (b0·x + b1) > 1 − b2."""
    at = curve.b0 * seen + curve.b1
    return max(0.0, 1.0 - (1.0 / at + curve.b2)) if at > 0.0 else 0.0


@lru_cache(maxsize=64)
def fit_inverse(points: tuple[tuple[float, float], ...]) -> InverseCurve:
    """The non-negative b0, b1, b2 that come closest, by least squares, to points (samples gone through, accuracy).

    For a given b2, 1 / (error − b2) is linear in b0 and b1, so those follow by non-negative least squares (each point
    weighted so that its residual is one of accuracy, to first order). The best of some values of b2 is where a
    bounded least-squares search over all three begins. ValueError for fewer than three
    different numbers of samples.
    """
    if len({seen for seen, _ in points}) < 3:
        raise ValueError("expected points at three or more different numbers of samples")
    from scipy.optimize import least_squares

    seen, accuracy = np.array(points, np.float64).T
    scale, errors = float(seen.max()), 1.0 - accuracy
    x = seen / scale
    best = min((_at(b2, x, errors) for b2 in np.linspace(0.0, errors.min(), _GRID, endpoint=False)), key=lambda f: f[0])
    found = least_squares(
        _residuals, np.maximum(best[1], _SMALL), args=(x, errors), bounds=([0, 0, 0], [np.inf, np.inf, 1])
    )
    b0, b1, b2 = found.x if 2 * found.cost <= best[0] else best[1]
    return InverseCurve(b0=float(b0) / scale, b1=float(b1), b2=float(b2))


def _at(b2: float, x: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Sum of squares, and the best b0 and b1 for this b2, with it."""
    from scipy.optimize import nnls

    above = np.maximum(errors - b2, _SMALL)
    weights = above**2
    design = np.stack([x, np.ones_like(x)], axis=1) * weights[:, None]
    solution: Any = nnls(design, weights / above)[0]
    parameters = np.array([*solution, b2])
    return float((_residuals(parameters, x, errors) ** 2).sum()), parameters


def _residuals(
    parameters: NDArray[np.float64], x: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    b0, b1, b2 = parameters
    residuals: NDArray[np.float64] = 1.0 / np.maximum(b0 * x + b1, _SMALL) + b2 - errors
    return residuals
