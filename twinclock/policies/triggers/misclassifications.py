"""Avoidable misclassifications: how many wrong answers a model gave beyond those that a good one gives anyway.

On an interval of n samples with `misses` wrong answers, a = misses − (1 − e) · n, where e is the accuracy that is
expected of a model: given, or forecast from what earlier models had on the first interval they were scored on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.forecast import next_share
from twinclock.policies.triggers.rules import Verdict
from twinclock.section import Section

METRIC = "accuracy"
"""What has to be observed."""


class AvoidableMisclassificationsRule(Section):
    """Fires when the wrong answers that a fresh model would have avoided have added up to a threshold.

    For each interval of n samples a = misses − (1 − e) · n, e being the expected accuracy, where a < 0 counts 0
    unless `allow_reduction`; C += a, rounded half to even. Fires when C ≥ threshold; any trigger sets C to 0. Without
    `expected_accuracy` e is forecast from the accuracies that the last `window` models had on the first interval that
    they were scored on, the present one excluded, and a = 0 while there is none. `lookahead` also fires if C +
    round(max(0, e − â) · n) ≥ threshold, â being the forecast of the last `window` accuracies since the last trigger.
    A forecast of fewer than 5 values is their mean, of more a ridge regression (α = 0.5, intercept not penalised) on
    their index, asked for the next; it is kept within [0, 1].
    """

    source: ClassVar[str] = (
        "Böther et al., Modyn: Data-Centric Machine Learning Pipeline Orchestration, SIGMOD 2025, and its code"
    )

    kind: Literal["avoidable_misclassifications"] = "avoidable_misclassifications"
    threshold: float = Field(gt=0)
    """Avoidable wrong answers that are one training's worth. [samples]"""
    expected_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Accuracy e of a fresh model; None: forecast. [share]"""
    allow_reduction: bool = False
    """Do intervals that are better than expected make up for others?"""
    mode: Literal["hindsight", "lookahead"] = "hindsight"
    """Look at what was observed, or one interval ahead as well."""
    window: int = Field(default=10, gt=0)
    """What a forecast is made of: so many accuracies, the last. [observations]"""


def misses(accuracy: float, num_samples: int) -> int:
    """Wrong answers among the samples."""
    return round((1.0 - accuracy) * num_samples)


@dataclass(slots=True)
class AccuracyHistory:
    """The accuracies that forecasts are made of; the oldest first."""

    window: int
    firsts: list[float] = field(default_factory=list)
    """Of models on the first interval that they were scored on."""
    since_fire: list[float] = field(default_factory=list)
    """Observed since the last fire."""
    is_fresh: bool = True
    """Has the active model not been scored yet?"""

    def expected(self, given: float | None) -> float | None:
        """The accuracy to expect of a model, before the present interval is noted; None if nothing is known."""
        if given is not None:
            return given
        return next_share(self.firsts) if self.firsts else None

    def note(self, accuracy: float) -> None:
        """An interval was scored."""
        self.since_fire = [*self.since_fire, accuracy][-self.window :]
        if self.is_fresh:
            self.firsts = [*self.firsts, accuracy][-self.window :]
            self.is_fresh = False

    def on_fire(self) -> None:
        """What was observed until now belongs to the past."""
        self.since_fire = []

    def on_new_model(self) -> None:
        """The next interval will be the first of this model."""
        self.is_fresh = True

    def state_dict(self) -> dict[str, Json]:
        """All but the window."""
        return {"firsts": self.firsts, "since_fire": self.since_fire, "is_fresh": self.is_fresh}

    @classmethod
    def from_state(cls, window: int, state: Mapping[str, Json]) -> Self:
        """What `state_dict` gave."""
        return cls(window, list(state["firsts"]), list(state["since_fire"]), state["is_fresh"])


def avoidable(accuracy: float, num_samples: int, expected: float | None) -> float:
    """Wrong answers beyond those to expect, possibly fewer than none; 0 if nothing is expected yet."""
    return 0.0 if expected is None else misses(accuracy, num_samples) - (1 - expected) * num_samples


class AvoidableMisclassifications:
    """Adds up an `AvoidableMisclassificationsRule`."""

    def __init__(self, rule: AvoidableMisclassificationsRule) -> None:
        self._rule = rule
        self._count = 0
        self._history = AccuracyHistory(rule.window)

    def judge(self, value: float | None, num_samples: int) -> Verdict:
        """Take in the accuracy on an interval; None or NaN is left out, and never fires."""
        expected = self._history.expected(self._rule.expected_accuracy)
        if value is None or math.isnan(value):
            return Verdict(False, self._rule.threshold, None)
        self._history.note(value)
        more = avoidable(value, num_samples, expected)
        if more > 0 or self._rule.allow_reduction:
            self._count += round(more)
        count = self._count
        if self._rule.mode == "lookahead" and expected is not None:
            count += round(max(0.0, expected - next_share(self._history.since_fire)) * num_samples)
        return Verdict(count >= self._rule.threshold, self._rule.threshold, count - self._rule.threshold)

    def note(self, value: float | None) -> None:
        """Remember an accuracy without counting what was missed."""
        if value is not None and not math.isnan(value):
            self._history.note(value)

    def on_fire(self) -> None:
        """Begin to count anew."""
        self._count = 0
        self._history.on_fire()

    def on_new_model(self) -> None:
        """The next accuracy is the first of a model."""
        self._history.on_new_model()

    def state_dict(self) -> dict[str, Json]:
        """`count`: C."""
        return {"count": self._count, **self._history.state_dict()}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._count = state["count"]
        self._history = AccuracyHistory.from_state(self._rule.window, state)
