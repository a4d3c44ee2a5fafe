"""A trigger whose threshold is tuned on the first part of the stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.cost_matrix import CostMatrix, cost
from twinclock.policies.observations import observed, score_request, scored
from twinclock.policies.triggers.interval import IntervalTrigger, Judgement, View
from twinclock.policies.triggers.misclassifications import misses
from twinclock.policies.triggers.protocol import DependsOn, Observation
from twinclock.policies.triggers.schedule import IntervalLength
from twinclock.section import Section


class CaraTriggerConfig(Section):
    """Fires by a threshold that would have been the best on the first intervals.

    v is what the active model cost on the interval: wrong answers, or samples times mean log loss. `threshold`: fires
    if v ≥ τ. `cumulative`: S += v, fires if S ≥ τ, and then S = 0. `periodic`: fires at interval j (counted from 0)
    if j mod φ = o. A model is trained at the end of each of the first P = `tuning` intervals, and every one is scored
    on all of these that follow. τ is then the one of the least cost, Σ per_training_second · seconds + Σ v on these P
    intervals, among all v (or sums S) that occur and ∞; φ and o are searched over 1 … P and 0 … φ − 1. Ties go to
    fewer trainings.

    A model may depend on nothing but the trigger that it was trained at: from scratch, on all data so far, or on a
    window or limit of them. Other configurations are refused.
    """

    source: ClassVar[str] = (
        "Mahadevan and Mathioudakis, Cost-aware retraining for machine learning, Knowledge-Based Systems 293, 2024"
    )

    kind: Literal["cara"] = "cara"
    interval: IntervalLength
    """From one decision to the next: a number of samples, or a duration of data time. [samples, or s of data time]"""
    mode: Literal["threshold", "cumulative", "periodic"] = "threshold"
    """Which rule is tuned: by v, by the sum of v since the last training, or by the calendar."""
    tuning: int = Field(default=10, gt=1)
    """What the threshold is tuned on; each has a training of its own. [intervals]"""
    per_training_second: float = Field(gt=0)
    """What a second of training may cost in wrong answers, or in log loss. [answers, or nats, per s of training]"""
    metric: Literal["accuracy", "log_loss"] = "accuracy"
    """What wrong answers are counted by."""


class Tuned(NamedTuple):
    """The answer of the tuning."""

    threshold: float
    """τ; infinite: never."""
    period: int
    """φ; 0: not periodic."""
    offset: int


class CaraJudge:
    """Gathers the cost matrix of the first intervals, tunes on it, and then applies what it found."""

    depends_on: DependsOn = "clock"
    needs_labels = True

    def __init__(self, config: CaraTriggerConfig) -> None:
        self._config = config
        self._models: list[tuple[int, Mapping[str, Json]]] = []
        """Interval after which it was trained, and lineage entry, of the models of the tuning."""
        self._rows: list[dict[str, Json]] = []
        """For each interval of the tuning `n`, its samples, and `scores`: [interval of the model, cost] each."""
        self._seconds: list[tuple[int, float]] = []
        """Interval after which it was made, and seconds, of the trainings of the tuning."""
        self._tuned: Tuned | None = None
        self._sum = 0.0

    def request(self, view: View) -> Mapping[str, Json] | None:
        """While tuning, the score of every model; then of the active one, unless only the period counts."""
        interval, is_tuning = view.interval, self._is_tuning(view)
        if not is_tuning and self._config.mode == "periodic":
            return None
        return score_request(
            decision=interval.number,
            first=interval.first,
            stop=interval.stop,
            metrics=[self._config.metric],
            models=[model for _, model in self._models] if is_tuning else None,
        )

    def judge(self, view: View, observation: Observation | None) -> Judgement:
        """Fires at each interval of the tuning, then as tuned."""
        number = view.interval.number
        if self._is_tuning(view):
            self._note(view, observation)
            return Judgement(fires=True, reason=f"tuning, interval {number + 1} of {self._config.tuning}")
        if self._tuned is None:
            self._tuned = tuned(self._config.mode, self._matrix())
        if self._config.mode == "periodic":
            fires = self._tuned.period > 0 and number % self._tuned.period == self._tuned.offset
            return Judgement(fires=fires, reason=f"period {self._tuned.period}, offset {self._tuned.offset}")
        value = self._cost(view, observed(observation, self._config.metric))
        if value is None:
            return Judgement(fires=False, reason=f"{self._config.metric} could not be measured")
        self._sum = value + (self._sum if self._config.mode == "cumulative" else 0.0)
        return Judgement(
            fires=self._sum >= self._tuned.threshold,
            reason=f"{self._config.mode}, tuned to {self._tuned.threshold:.4g}",
            observation=self._sum,
            threshold=_finite(self._tuned.threshold),
        )

    def warm_up(self, view: View, observation: Observation | None) -> Judgement:
        """There is none: the tuning comes first."""
        return self.judge(view, observation)

    def pass_over(self, view: View) -> None:
        """An interval of the tuning that no model could be scored on."""
        if self._is_tuning(view):
            self._note(view, None)

    def on_fire(self, position: int) -> None:
        """The sum begins anew."""
        self._sum = 0.0

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """The price of a training of the tuning."""
        if self._tuned is None:
            self._seconds = [*self._seconds, (len(self._rows) - 1, seconds)]

    def on_new_model(self, model: Mapping[str, Json], position: int) -> None:
        """One more model to score while tuning."""
        if self._tuned is None:
            self._models = [*self._models, (len(self._rows) - 1, model)]

    def state_dict(self) -> dict[str, Json]:
        """The matrix gathered, the models it is of, and what was found."""
        return {
            "models": [[index, dict(model)] for index, model in self._models],
            "rows": self._rows,
            "seconds": [list(each) for each in self._seconds],
            "tuned": None if self._tuned is None else [_finite(self._tuned.threshold), *self._tuned[1:]],
            "sum": self._sum,
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._models = [(index, model) for index, model in state["models"]]
        self._rows, self._sum = list(state["rows"]), state["sum"]
        self._seconds = [(index, seconds) for index, seconds in state["seconds"]]
        self._tuned = None
        if state["tuned"] is not None:
            threshold, period, offset = state["tuned"]
            self._tuned = Tuned(math.inf if threshold is None else threshold, period, offset)

    def _is_tuning(self, view: View) -> bool:
        return view.interval.number < self._config.tuning

    def _cost(self, view: View, value: float | None) -> float | None:
        """What the answers on an interval cost, from the metric."""
        if value is None or math.isnan(value):
            return None
        by_misses = self._config.metric == "accuracy"
        return float(misses(value, view.num_samples)) if by_misses else value * view.num_samples

    def _note(self, view: View, observation: Observation | None) -> None:
        scores = [
            [index, self._cost(view, scored(observation, self._config.metric, model))] for index, model in self._models
        ]
        self._rows = [*self._rows, {"n": view.num_samples, "scores": scores}]

    def _matrix(self) -> CostMatrix:
        """The costs of the tuning. What a missing model answers counts as unanswered, a missing price as the mean."""
        sizes = np.array([row["n"] for row in self._rows], np.float64)
        answering = np.tile(sizes, (len(sizes), 1))
        for j, row in enumerate(self._rows):
            for i, value in row["scores"]:
                if value is not None:
                    answering[i, j] = value
        known = [seconds for _, seconds in self._seconds]
        training = np.full(len(sizes), float(np.mean(known)) if known else 0.0)
        for i, seconds in self._seconds:
            training[i] = seconds
        return CostMatrix(initial=sizes, answering=answering, training=training * self._config.per_training_second)


def tuned(mode: Literal["threshold", "cumulative", "periodic"], matrix: CostMatrix) -> Tuned:
    """The threshold, or period, of the least cost on a matrix; on a tie fewer trainings, then the first in order."""
    m = matrix.num_intervals
    if mode == "periodic":
        candidates = [Tuned(math.inf, period, offset) for period in range(1, m + 1) for offset in range(period)]
        fires = [list(range(each.offset, m, each.period)) for each in candidates]
    else:
        taus = [*sorted(set(_occurring(mode, matrix))), math.inf]
        candidates = [Tuned(tau, 0, 0) for tau in taus]
        fires = [_fires(mode, matrix, tau) for tau in taus]
    costs = [(cost(matrix, each), len(each)) for each in fires]
    return candidates[min(range(len(costs)), key=lambda index: costs[index])]


def cara_trigger(config: CaraTriggerConfig) -> IntervalTrigger:
    """A fresh trigger, at the start of the stream."""
    return IntervalTrigger(CaraJudge(config), config.interval)


def _fires(mode: str, matrix: CostMatrix, threshold: float) -> list[int]:
    """Intervals at whose end the rule would have fired."""
    fires: list[int] = []
    total = 0.0
    for j in range(matrix.num_intervals):
        value = float(matrix.answering[fires[-1], j] if fires else matrix.initial[j])
        total = value + (total if mode == "cumulative" else 0.0)
        if total >= threshold:
            fires.append(j)
            total = 0.0
    return fires


def _occurring(mode: str, matrix: CostMatrix) -> Iterator[float]:
    """Every v, or sum of v since a training, that can come up."""
    rows = [matrix.initial, *(matrix.answering[i, i + 1 :] for i in range(matrix.num_intervals))]
    for row in rows:
        yield from (np.cumsum(row) if mode == "cumulative" else row).tolist()


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value
