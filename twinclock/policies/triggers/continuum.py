"""Triggers that train as soon as a device is free, or as soon as the latency saved is worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.forecast import line
from twinclock.policies.triggers.protocol import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime

_POINTS = 10
"""Trainings that the line of seconds over samples is fitted to."""
_ENOUGH_POINTS = 3


class ContinuumTriggerConfig(Section):
    """Fires once the latency that one more training would have saved is worth that training.

    A training of n samples takes τ(n) = α·n + β seconds, and one of its seconds weighs w sample-seconds of latency.
    With samples waiting since a₁ ≤ … ≤ aₙ, the regret at t is R(t) = max over p of p·(t − aₚ) + 2α·p·(n − p); fires
    when R(t) ≥ w·β, that is at t* = max(aₙ, min over p of aₚ + (w·β − 2α·p·(n − p)) / p), at the last sample with ts
    ≤ t*. One training at a time: while one runs, at the next question after its end. α and β are fitted to the last
    10 trainings once there are 3 of different sizes.
    """

    source: ClassVar[str] = (
        "Tian et al., Continuum: a platform for cost-aware, low-latency continual learning, SoCC 2018"
    )

    kind: Literal["continuum"] = "continuum"
    w: float = Field(gt=0)
    """Latency that one second of training is worth. [sample-s of data time per s of training]"""
    alpha: float = Field(ge=0)
    """Training time of each sample, until trainings have been timed. [clock s per sample]"""
    beta: float = Field(ge=0)
    """Training time whatever the samples, until trainings have been timed. [clock s]"""


class BestEffortTriggerConfig(Section):
    """Fires whenever no training runs and a sample waits.

    Where training stops ingestion that is at every sample.
    """

    source: ClassVar[str] = ContinuumTriggerConfig.source

    kind: Literal["best_effort"] = "best_effort"


class ContinuumTrigger:
    """Keeps which samples wait; when it is time follows from their timestamps."""

    depends_on: DependsOn = "clock"

    def __init__(self, config: ContinuumTriggerConfig) -> None:
        self._config = config
        self._points: list[list[float]] = []
        self._since = 0
        """The first position that waits."""
        self._answered = -1
        """The last position that it fired at, whatever became of that."""
        self._reached = 0
        self._deadline: DataTime | None = None

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire before the first sample, or at the moment, that comes after t* of those that wait."""
        reached = max(self._reached, samples.first)
        self._reached = max(reached, samples.stop)
        self._deadline = None
        if samples.training_under_way or self._since >= self._reached:
            return Quiet()
        times = samples.stream.timestamps(self._since, self._reached)
        due = self._due(times)
        # a fire lies at the position before the sample in hand at the earliest, however long ago it was due
        earliest = max(self._since, reached - 1, self._answered + 1)
        if earliest >= self._reached:
            return Quiet()
        candidates = np.arange(earliest, self._reached) - self._since
        shown = np.append(times[1:], -np.inf if samples.watermark is None else samples.watermark)
        late = np.flatnonzero((shown >= due)[candidates])
        if len(late) == 0:
            self._deadline = DataTime(float(due[-1]))
            return Quiet()
        index = int(candidates[late[0]])
        position = self._since + index
        self._reached, self._answered = position + 1, position
        reason = f"the latency of {index + 1} samples is worth a training"
        decision = Decision(
            first=self._since, stop=position + 1, threshold=float(due[index]), verdict="fired", reason=reason
        )
        return Fire(position=position, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Samples up to there wait no more."""
        self._since = position + 1

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """One more point for α and β."""
        self._points = [*self._points, [num_samples, seconds]][-_POINTS:]

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """The first moment after t* of the samples that wait; None while a training runs."""
        return self._deadline

    def state_dict(self) -> dict[str, Json]:
        """Which samples wait, how far it has read, and the trainings that were timed."""
        return {
            "since": self._since,
            "answered": self._answered,
            "reached": self._reached,
            "deadline": self._deadline,
            "points": self._points,
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._since, self._answered, self._reached = state["since"], state["answered"], state["reached"]
        self._deadline, self._points = state["deadline"], [list(point) for point in state["points"]]

    def _due(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The first moment after t* when the first 1, 2, … of these samples wait: one at t* belongs to the fire.

        (w·β − 2α·p·(n − p)) / p = w·β / p + 2α·p − 2α·n, so the p of the minimum runs along with n. The value is
        that of the definition: a sample may lie exactly at t*, where rounding would count.
        """
        alpha, beta = self._seconds_line()
        price = self._config.w * beta
        counts = np.arange(1, len(times) + 1)
        values = times + price / counts + 2 * alpha * counts
        best = np.maximum.accumulate(np.where(values == np.minimum.accumulate(values), counts, 0))
        regrets = times[best - 1] + (price - 2 * alpha * best * (counts - best)) / best
        due: NDArray[np.float64] = np.nextafter(np.maximum(times, regrets), np.inf)
        return due

    def _seconds_line(self) -> tuple[float, float]:
        """α and β: least squares, of either sign; as configured until there are enough points, or all of one size."""
        sizes, seconds = [point[0] for point in self._points], [point[1] for point in self._points]
        if len(sizes) < _ENOUGH_POINTS or len(set(sizes)) == 1:
            return self._config.alpha, self._config.beta
        return line(sizes, seconds)


class BestEffortTrigger:
    """Fires at the next sample that it is shown while no training runs."""

    depends_on: DependsOn = "clock"

    def __init__(self) -> None:
        self._since = 0
        self._answered = -1
        """The last position that it fired at, whatever became of that."""
        self._reached = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire at the first sample in hand, or at those that have waited for a training to end."""
        reached = max(self._reached, samples.first)
        if samples.training_under_way:
            self._reached = max(reached, samples.stop)
            return Quiet()
        position = reached - 1 if max(self._since, self._answered + 1) < reached else reached
        if position >= samples.stop:
            return Quiet()
        self._reached, self._answered = position + 1, position
        reason = "no training runs"
        decision = Decision(first=self._since, stop=position + 1, verdict="fired", reason=reason)
        return Fire(position=position, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Samples up to there wait no more."""
        self._since = position + 1

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """None: without a new sample there is nothing new to train on."""
        return None

    def state_dict(self) -> dict[str, Json]:
        """Which samples wait, and how far it has read."""
        return {"since": self._since, "answered": self._answered, "reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._since, self._answered, self._reached = state["since"], state["answered"], state["reached"]
