"""What a simulated run asks about its models, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.seeds import Purpose
from twinclock.stream import Stream

METRICS = ("accuracy",)
"""What a formula, or the proxy, can answer; whoever asks for more needs measured scores."""
_BLOCK = 4096

Span: TypeAlias = tuple[float, float]
"""Data time, from and to."""


class Quality(Protocol):
    """Says how good models are. Nobody but the stages that score (OBSERVE, the evaluations) asks."""

    def trained(self, job: Mapping[str, Json]) -> None:
        """A training begins: its number, recipe and the model that it starts from. Begun again, the last one counts."""

    def stored(self, model: Mapping[str, Json]) -> None:
        """A model is there from now on: its lineage entry."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """A metric of a model (its lineage entry) on an interval: `start`, `end`, and positions [`first`, `stop`).

        `span`: data time of the samples scored, if that is less than the interval.
        """

    def observed(self, request: Mapping[str, Json]) -> dict[str, float | None] | None:
        """The answer to a `distance` request that needs models; None if it is to be computed."""

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> NDArray[np.float64] | None:
        """For each sample of [first, stop) 1 if the model is wrong, else 0; None if they are to be drawn."""


def check_metric(metric: str) -> None:
    """ConfigError unless it is one of METRICS."""
    if metric not in METRICS:
        raise ConfigError(f"sim.quality: it gives {', '.join(METRICS)}, not {metric}")


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
        1.0 - (quality.score(model, _moment(position, ts), "accuracy", span=(ts, ts)) or 0.0)
        for position, ts in enumerate(times.tolist(), first)
    ]
    return (wrong < np.array(rates)).astype(np.float64)


def _moment(position: int, ts: float) -> dict[str, Json]:
    """One sample as an interval."""
    return {"start": ts, "end": ts, "first": position, "stop": position + 1}
