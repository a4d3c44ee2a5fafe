"""Accuracy by a formula put together from parts: a learning curve, any number of drifts, and warm starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from sim.numbers import Share
from sim.quality.abrupt import Abrupt, AbruptDrift
from sim.quality.asked import Asked, Shape
from sim.quality.explosive import Explosive, ExplosiveDrift
from sim.quality.gradual import Gradual, GradualDrift
from sim.quality.knowledge import Ancestry, WarmStart
from sim.quality.learning import LearningConfig, SaturatingCurve, fresh_accuracy
from sim.quality.protocol import Span, check_metric
from sim.quality.recurring import Recurring, RecurringDrift
from twinclock.graph import Json
from twinclock.section import ListOf, Section, WrongKeyError
from twinclock.stream import Stream

DriftConfig: TypeAlias = Annotated[
    GradualDrift | AbruptDrift | RecurringDrift | ExplosiveDrift, Field(discriminator="kind")
]


class FormulaQuality(Section):
    """accuracy = floor + (fresh − floor) · kept₁ · kept₂ · …

    `fresh` is what the learning curve gives for the samples that the model has learned from, by way of the models
    before it too; each drift keeps a share in [0, 1] of what was learned. Without drift kept = 1. One saturating curve
    and one gradual drift are the model `decay`.
    """

    kind: Literal["formula"] = "formula"
    floor: Share = 0.1
    """Accuracy of a model that knows nothing, or nothing any more."""
    learning: LearningConfig = SaturatingCurve()
    """How accurate a fresh model is."""
    drift: ListOf[DriftConfig] = ()
    """What makes it worse; the shares that they keep are multiplied."""
    warm_start: WarmStart = WarmStart()
    """What a model has from the one that it was started from."""

    @model_validator(mode="after")
    def _gains(self) -> FormulaQuality:
        if isinstance(self.learning, SaturatingCurve) and self.learning.peak < self.floor:
            expected = f"expected at least floor, which is {self.floor:g}"
            raise WrongKeyError("learning.peak", f"got {self.learning.peak:g}, {expected}")
        return self


class FormulaScores:
    """Scores by that formula."""

    def __init__(self, quality: FormulaQuality, stream: Stream, seed: int) -> None:
        self._quality = quality
        self._ancestry = Ancestry(quality.warm_start)
        self._shapes = [_shape(drift, stream, seed, number) for number, drift in enumerate(quality.drift)]

    def trained(self, job: Mapping[str, Json]) -> None:
        """Nothing to keep: lineage entries say it all."""

    def stored(self, model: Mapping[str, Json]) -> None:
        """Others may be started from it."""
        self._ancestry.add(model)

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """Accuracy, in [0, 1]; None without samples. ConfigError for any other metric."""
        check_metric(metric)
        first, stop = interval["first"], interval["stop"]
        if stop <= first:
            return None
        known, floor = self._ancestry.of(model), self._quality.floor
        fresh = fresh_accuracy(
            self._quality.learning, num_samples=known.num_samples, epochs=model["epochs"], floor=floor
        )
        asked = Asked(
            serial=model["trigger"], knowledge=known, last_ts=model["last_ts"], first=first, stop=stop, span=span
        )
        kept = 1.0
        for shape in self._shapes:
            kept *= shape.kept(asked)
        return floor + (fresh - floor) * kept

    def observed(self, request: Mapping[str, Json]) -> None:
        """Errors are drawn, then computed with."""

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> None:
        """They are to be drawn."""


def _shape(drift: DriftConfig, stream: Stream, seed: int, number: int) -> Shape:
    match drift:
        case GradualDrift():
            return Gradual(drift)
        case AbruptDrift():
            return Abrupt(drift, stream, seed, number)
        case RecurringDrift():
            return Recurring(drift, stream)
        case ExplosiveDrift():
            return Explosive(drift)
