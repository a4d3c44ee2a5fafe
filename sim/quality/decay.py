"""Accuracy by the shortest formula: it grows with the training set, and half of it is lost after a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from sim.numbers import Positive, Share
from sim.quality.protocol import Span, check_metric
from twinclock.graph import Json
from twinclock.section import Section


class DecayQuality(Section):
    """Accuracy that grows with the training set and decays with the age of its newest sample.

    accuracy = floor + (peak − floor) · n / (n + half_samples) · 2^(−age / half_life_s)
    """

    kind: Literal["decay"] = "decay"
    peak: Share = 0.9
    """Accuracy of a fresh model trained on unlimited data."""
    floor: Share = 0.1
    """Accuracy of a model that knows nothing any more."""
    half_samples: Annotated[float, Field(ge=0)] = 1000.0
    """Samples in the training set that give half of what there is to gain."""
    half_life_s: Positive = 365 * 86_400.0
    """Seconds of data time in which half of what was gained is lost."""


class DecayScores:
    """Scores by that formula, of the model alone: what it was started from does not count."""

    def __init__(self, quality: DecayQuality) -> None:
        self._quality = quality

    def trained(self, job: Mapping[str, Json]) -> None:
        """Nothing to keep: a lineage entry says it all."""

    def stored(self, model: Mapping[str, Json]) -> None:
        """Nothing to keep."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """Accuracy; None without samples. ConfigError for any other metric."""
        check_metric(metric)
        if interval["stop"] <= interval["first"]:
            return None
        return accuracy(self._quality, model, *span)

    def observed(self, request: Mapping[str, Json]) -> None:
        """Errors are drawn, then computed with."""

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> None:
        """They are to be drawn."""


def accuracy(quality: DecayQuality, model: Mapping[str, Json], start: float, end: float) -> float:
    """Accuracy of a stored model on the data-time interval [start, end), in [0, 1].

    `model` is a lineage entry: `num_samples` it was trained on, and `last_ts`, the data time of the
    newest of them. The age that counts is from there to the middle of the interval.
    """
    age_s = max(0.0, (start + end) / 2 - model["last_ts"])
    num_samples = model["num_samples"]
    learned = num_samples / (num_samples + quality.half_samples) if num_samples else 0.0
    remembered = 2.0 ** (-age_s / quality.half_life_s)
    return float(quality.floor + (quality.peak - quality.floor) * learned * remembered)
