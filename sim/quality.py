"""How good a model is, where no model is trained: by a formula over its lineage, or as a real run has measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.config import DecayQuality, MeasuredQuality, QualityConfig
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.seeds import Purpose
from twinclock.stream import Stream

METRICS = ("accuracy",)
"""What the formula can answer; whoever asks for more needs measured scores."""
_BLOCK = 4096

Span: TypeAlias = tuple[float, float]
"""Data time, from and to."""


class Quality(Protocol):
    """Says how good models are."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """A metric of a model (its lineage entry) on an interval: `start`, `end`, and positions [`first`, `stop`).

        `span`: data time of the samples scored, if that is less than the interval.
        """

    def observed(self, request: Mapping[str, Json]) -> dict[str, float | None] | None:
        """The answer to a `distance` request that needs models; None if it is to be computed."""


class DecayScores:
    """Scores by formula."""

    def __init__(self, quality: DecayQuality) -> None:
        self._quality = quality

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """Accuracy; None without samples. ConfigError for any other metric."""
        if metric not in METRICS:
            raise ConfigError(f"sim.quality: the formula gives {', '.join(METRICS)}, not {metric}")
        if interval["stop"] <= interval["first"]:
            return None
        return accuracy(self._quality, model, *span)

    def observed(self, request: Mapping[str, Json]) -> None:
        """Errors are drawn, then computed with."""


def make_quality(config: QualityConfig) -> Quality:
    """What the configuration asks for. RunError or ConfigError if the scores are not to be had."""
    if isinstance(config, MeasuredQuality):
        from sim.measured import MeasuredScores

        return MeasuredScores(config.run)
    return DecayScores(config)


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


def drawn_errors(
    quality: Quality, model: Mapping[str, Json], stream: Stream, first: int, stop: int, seed: int
) -> NDArray[np.float64]:
    """For each sample 1 if the model is wrong, else 0: drawn with the error rate that its accuracy there gives.

    The draw of a sample depends on the seed and its position alone, so two models meet the same luck.
    """
    times = stream.timestamps(first, stop)
    wrong = np.empty(stop - first)
    for begin in range(first - first % _BLOCK, stop, _BLOCK):
        key = np.random.SeedSequence(seed, spawn_key=(int(Purpose.ERRORS), begin // _BLOCK))
        low, high = max(first, begin), min(stop, begin + _BLOCK)
        wrong[low - first : high - first] = np.random.default_rng(key).random(_BLOCK)[low - begin : high - begin]
    rates = [
        1.0 - (quality.score(model, {"start": ts, "end": ts, "first": 0, "stop": 1}, "accuracy", span=(ts, ts)) or 0.0)
        for ts in times
    ]
    return (wrong < np.array(rates)).astype(np.float64)
