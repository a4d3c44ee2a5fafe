"""The model of quality: how accuracy grows with the training set and falls with the model's age, fitted to scores.

Least squares over all models and intervals, each weighted by the square root of its samples, with a loss that bears
outliers (soft L1). Two shapes are tried: the hyperbola of `decay`, and the curve of Ekya over the samples gone through
(`formula` with `inverse` and one gradual drift). The second is taken where it predicts models that it was not fitted
to better, by cross-validation over models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sim.calibration.figures import LEVEL, Figure

Floats = NDArray[np.float64]
LEAST_SCORES, LEAST_MODELS = 8, 3
_BETTER = 0.98
"""Share of the cross-validated error below which the shape with more numbers is worth them."""
_FOLDS = 5
_SOFT = 0.05
"""Accuracy from which on a residual counts in proportion."""
_LONGEST = 100.0
"""Half-lives up to so many times the oldest age are told from none."""
_MOST_STEPS = 100
_STARTS = (0.1, 1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A formula with its numbers scaled to about 1: samples by their mean, ages by the largest."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    starts: tuple[tuple[float, ...], ...]
    value: Callable[[Floats, Floats, Floats], Floats]
    """Numbers, samples, ages → accuracy."""


def _decay(numbers: Floats, samples: Floats, ages: Floats) -> Floats:
    floor, gain, half_samples, half_life = numbers
    return np.asarray(floor + gain * samples / (samples + half_samples) * 2.0 ** (-ages / half_life))


def _inverse(numbers: Floats, samples: Floats, ages: Floats) -> Floats:
    floor, b0, b1, b2, half_life = numbers
    fresh = np.maximum(floor, 1.0 - 1.0 / (b0 * samples + b1) - b2)
    return np.asarray(floor + (fresh - floor) * 2.0 ** (-ages / half_life))


DECAY = Shape(
    ("floor", "gain", "half_samples", "half_life_s"),
    (0.0, 0.0, 0.0, 1e-3),
    (1.0, 1.0, 100.0, _LONGEST),
    tuple((0.3, 0.5, half, life) for half in _STARTS for life in _STARTS),
    _decay,
)
INVERSE = Shape(
    ("floor", "b0", "b1", "b2", "half_life_s"),
    (0.0, 0.0, 1.0, 0.0, 1e-3),
    (1.0, 1e4, 1e3, 1.0, _LONGEST),
    tuple((0.3, slope, 2.0, 0.2, life) for slope in _STARTS for life in _STARTS),
    _inverse,
)


@dataclass(frozen=True)
class Accuracy:
    """A fitted model of quality."""

    quality: Mapping[str, Any]
    """As under `sim.quality`."""
    figures: tuple[Figure, ...]
    scores: pl.DataFrame
    """`model`, `fitted`, `value`, `num_scored`."""


@dataclass(frozen=True, slots=True)
class _Scores:
    samples: Floats
    ages: Floats
    values: Floats
    weights: Floats

    def at(self, rows: NDArray[Any]) -> _Scores:
        return _Scores(self.samples[rows], self.ages[rows], self.values[rows], self.weights[rows])


def fit_accuracy(scores: pl.DataFrame, *, from_scratch: bool) -> Accuracy | None:
    """The shape that predicts best; None for too few scores. A curve of epochs counts only models from scratch."""
    if scores.height < LEAST_SCORES or scores["model"].n_unique() < LEAST_MODELS:
        return None
    samples, epochs = scores["num_samples"].to_numpy().astype(float), scores["epochs"].to_numpy()
    ages, values = scores["age_s"].to_numpy(), scores["value"].to_numpy()
    weights = np.sqrt(scores["num_scored"].to_numpy().astype(float))
    weights /= weights.mean()
    scale, oldest = float(samples.mean()), max(float(ages.max()), 1.0)
    by_samples = _Scores(samples / scale, ages / oldest, values, weights)
    seen_scale = float((samples * epochs).mean())
    by_seen = _Scores(samples * epochs / seen_scale, ages / oldest, values, weights)
    groups = scores.select(pl.struct("run", "model").rank("dense")).to_series().to_numpy()
    shape, data, seen = DECAY, by_samples, scale
    found, deviations = _fitted(DECAY, by_samples, DECAY.starts)
    if from_scratch and len(np.unique(samples * epochs)) > len(INVERSE.names):
        other = _fitted(INVERSE, by_seen, INVERSE.starts)
        least = _BETTER * _cross_validated(DECAY, by_samples, groups, found)
        if _cross_validated(INVERSE, by_seen, groups, other[0]) < least:
            shape, data, seen, (found, deviations) = INVERSE, by_seen, seen_scale, other
    fitted = shape.value(found, data.samples, data.ages)
    units = {"half_samples": seen, "b0": 1.0 / seen, "half_life_s": oldest}
    factors = np.array([units.get(name, 1.0) for name in shape.names])
    numbers, deviations = found * factors, deviations * factors
    r2 = 1.0 - float((data.weights**2 * (values - fitted) ** 2).sum()) / max(
        float((data.weights**2 * (values - np.average(values, weights=data.weights**2)) ** 2).sum()), 1e-12
    )
    from scipy.stats import t

    reach = float(t.ppf(0.5 + LEVEL / 2, max(1, len(values) - len(numbers))))
    ends = [(n - reach * d, n + reach * d) for n, d in zip(numbers.tolist(), deviations.tolist(), strict=True)]
    named = dict(zip(shape.names, numbers.tolist(), strict=True))
    lows, highs = np.array(shape.low) * factors, np.array(shape.high) * factors
    figures = tuple(
        Figure(
            f"quality.{name}",
            value,
            max(float(least), low),
            min(float(most), high),
            _unit(name),
            len(values),
            spread=r2,
        )
        for (name, value), (low, high), least, most in zip(named.items(), ends, lows, highs, strict=True)
    )
    table = scores.select("run", "model", "value", "num_scored").with_columns(fitted=pl.Series(fitted))
    return Accuracy(_section(shape, named), figures, table)


def _section(shape: Shape, named: Mapping[str, float]) -> dict[str, Any]:
    if shape is DECAY:
        return {
            "kind": "decay",
            "peak": min(1.0, named["floor"] + named["gain"]),
            "floor": named["floor"],
            "half_samples": named["half_samples"],
            "half_life_s": named["half_life_s"],
        }
    learning = {"kind": "inverse", **{name: named[name] for name in ("b0", "b1", "b2")}}
    drift = {"kind": "gradual", "half_life": named["half_life_s"]}
    return {"kind": "formula", "floor": named["floor"], "learning": learning, "drift": [drift]}


def _unit(name: str) -> str:
    return {"half_samples": "samples", "half_life_s": "s", "b0": "1/sample"}.get(name, "")


def _fitted(shape: Shape, data: _Scores, starts: Sequence[Any]) -> tuple[Floats, Floats]:
    """The numbers, and their standard deviations by the curvature of the loss; inf where it has none."""
    from scipy.optimize import least_squares

    def residuals(numbers: Floats) -> Floats:
        return np.asarray((shape.value(numbers, data.samples, data.ages) - data.values) * data.weights)

    tried = [
        least_squares(
            residuals, start, bounds=(shape.low, shape.high), loss="soft_l1", f_scale=_SOFT, max_nfev=_MOST_STEPS
        )
        for start in starts
    ]
    best = min(tried, key=lambda each: float(each.cost))
    freedom = max(1, len(data.values) - len(best.x))
    variance = 2.0 * float(best.cost) / freedom
    _, singular, right = np.linalg.svd(best.jac, full_matrices=False)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(singular > 1e-9 * singular[0], 1.0 / singular**2, 1e18)
    deviations = np.sqrt(variance * ((right**2).T @ inverse))
    return np.asarray(best.x), deviations


def _cross_validated(shape: Shape, data: _Scores, groups: NDArray[Any], start: Floats) -> float:
    """Sum of squared errors on models left out of the fit, which begins at that to all of them."""
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
    total = 0.0
    for inside, outside in folds.split(data.values, groups=groups):
        numbers, _ = _fitted(shape, data.at(inside), (start,))
        left = data.at(outside)
        total += float(((shape.value(numbers, left.samples, left.ages) - left.values) ** 2 * left.weights**2).sum())
    return total
