"""A trigger that weighs what waiting costs against what a training costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.observations import observed, score_request
from twinclock.policies.triggers.interval import (
    CooldownConfig,
    IntervalTrigger,
    Judgement,
    View,
    WarmupConfig,
)
from twinclock.policies.triggers.misclassifications import (
    METRIC,
    AccuracyHistory,
    AvoidableMisclassificationsRule,
    avoidable,
)
from twinclock.policies.triggers.protocol import DependsOn, Observation
from twinclock.policies.triggers.schedule import IntervalLength
from twinclock.policies.triggers.training_cost import TrainingSeconds, num_trained_on
from twinclock.section import Section

_ACCURACIES = 10
"""Past accuracies that the expected one is forecast from."""


class CostTriggerConfig(Section):
    """Fires when the regret of not having trained outweighs the price of a training.

    At the end of every interval it fires if A / f ≥ max(0, T(n)). A is the regret since the last trigger, f is
    `per_training_second`, and T(n) the forecast seconds of a training on the n samples that one fired now would get: a
    ridge regression (α = 1, intercept not penalised) on the (samples, seconds) of the last `window` trainings. Fires if
    no training was timed yet. A trigger sets A, R and waiting to 0.

    An interval of the timestamps t₁ … tₙ adds to A; e is tₙ, and D is e minus the e before it, at first tₙ − t₁.
    `incorporation_latency`: A += waiting · D + Σ (e − tᵢ), then waiting += n, which is ∫ waiting samples dt.
    `avoidable_misclassification_latency`: A += R · D + r · D / 2, then R += r, where r = misses − (1 − e′) · n with the
    accuracy e′ to expect, as in `avoidable_misclassifications`, but not rounded and not below 0;
    without a model r = 0.
    """

    source: ClassVar[str] = AvoidableMisclassificationsRule.source

    kind: Literal["cost"] = "cost"
    interval: IntervalLength
    """From one decision to the next: a number of samples, or a duration of data time. [samples, or s of data time]"""
    regret: Literal["incorporation_latency", "avoidable_misclassification_latency"] = "incorporation_latency"
    """What waiting costs: samples that no model knows yet, or answers that a fresh model would have got right."""
    per_training_second: float = Field(gt=0)
    """f: regret that one second of training is worth. [sample-s, or answer-s, of data time per s of training]"""
    window: int = Field(default=1000, gt=0)
    """What the forecast of seconds is made of: so many trainings, the last. [trainings]"""
    expected_accuracy: float | None = Field(default=None, ge=0, le=1)
    """For misclassifications: accuracy e of a fresh model; None: forecast. [share]"""
    warmup: WarmupConfig | None = None
    """A simple trigger for the first decisions; None: none."""
    cooldown: CooldownConfig | None = None
    """Least distance between two triggers; None: none."""


class Regret(Protocol):
    """Adds up what waiting has cost since the last fire."""

    def request(self, view: View) -> Mapping[str, Json] | None:
        """What has to be observed of an interval first."""

    def add(self, view: View, accuracy: float | None) -> float:
        """Take an interval in; the regret until now. `accuracy`: None without a model or an observation."""

    def note(self, accuracy: float | None) -> None:
        """Remember an accuracy that adds nothing to the regret."""

    def on_fire(self, position: int) -> None:
        """Nothing waits any more."""

    def on_new_model(self) -> None:
        """A model was stored."""

    def state_dict(self) -> dict[str, Json]:
        """As JSON."""

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""


class IncorporationLatency:
    """∫ waiting samples dt. A sample waits from its own time on; those up to a fire wait no more."""

    def __init__(self) -> None:
        self._regret = 0.0
        self._waiting = 0
        self._since = 0
        """The first position that no fire has taken."""
        self._until_ts: float | None = None
        """Data time up to which the regret is counted."""

    def request(self, view: View) -> None:
        """Timestamps are enough."""

    def add(self, view: View, accuracy: float | None) -> float:
        """A += waiting · D + Σ (e − tᵢ), where e is the last timestamp and D the time since the previous e."""
        interval, stream = view.interval, view.samples.stream
        times = stream.timestamps(max(interval.first, self._since), interval.stop)
        end = stream.timestamp(interval.stop - 1)
        begin = stream.timestamp(interval.first) if self._until_ts is None else self._until_ts
        self._regret += self._waiting * (end - begin) + float(np.sum(end - times))
        self._waiting += len(times)
        self._until_ts = end
        return self._regret

    def note(self, accuracy: float | None) -> None:
        """Accuracies do not matter."""

    def on_fire(self, position: int) -> None:
        """The samples up to `position` wait no more."""
        self._regret, self._waiting, self._since = 0.0, 0, position + 1

    def on_new_model(self) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Json]:
        """The regret, and how far it is counted."""
        return {
            "regret": self._regret,
            "waiting": self._waiting,
            "since": self._since,
            "until_ts": self._until_ts,
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._regret, self._waiting = state["regret"], state["waiting"]
        self._since, self._until_ts = state["since"], state["until_ts"]


class MisclassificationLatency:
    """∫ R dt, where R adds up avoidable misclassifications, each spread evenly over its interval."""

    def __init__(self, expected_accuracy: float | None) -> None:
        self._expected_accuracy = expected_accuracy
        self._history = AccuracyHistory(_ACCURACIES)
        self._regret = 0.0
        self._rate = 0.0
        self._until_ts: float | None = None

    def request(self, view: View) -> Mapping[str, Json]:
        """The accuracy of the active model."""
        interval = view.interval
        return score_request(decision=interval.number, first=interval.first, stop=interval.stop, metrics=[METRIC])

    def add(self, view: View, accuracy: float | None) -> float:
        """A += R · D + r · D / 2, then R += r; without a model r = 0."""
        interval, stream = view.interval, view.samples.stream
        end = stream.timestamp(interval.stop - 1)
        begin = stream.timestamp(interval.first) if self._until_ts is None else self._until_ts
        more = 0.0
        if accuracy is not None and not math.isnan(accuracy):
            expected = self._history.expected(self._expected_accuracy)
            more = max(0.0, avoidable(accuracy, view.num_samples, expected))
        self.note(accuracy)
        self._regret += self._rate * (end - begin) + more * (end - begin) / 2
        self._rate += more
        self._until_ts = end
        return self._regret

    def note(self, accuracy: float | None) -> None:
        """An accuracy that later ones are expected from; None or NaN is left out."""
        if accuracy is not None and not math.isnan(accuracy):
            self._history.note(accuracy)

    def on_fire(self, position: int) -> None:
        """The regret begins anew."""
        self._regret, self._rate = 0.0, 0.0
        self._history.on_fire()

    def on_new_model(self) -> None:
        """The next accuracy is the first of a model."""
        self._history.on_new_model()

    def state_dict(self) -> dict[str, Json]:
        """The regret, its rate, how far it is counted, and past accuracies."""
        return {
            "regret": self._regret,
            "rate": self._rate,
            "until_ts": self._until_ts,
            "history": self._history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._regret, self._rate, self._until_ts = state["regret"], state["rate"], state["until_ts"]
        self._history = AccuracyHistory.from_state(_ACCURACIES, state["history"])


class CostJudge:
    """Compares the regret with the forecast price of a training."""

    depends_on: DependsOn = "clock"

    def __init__(self, config: CostTriggerConfig) -> None:
        self._price = config.per_training_second
        self._forecast = TrainingSeconds(config.window)
        self._since = 0
        self.needs_labels = config.regret != "incorporation_latency"
        self._regret: Regret = (
            MisclassificationLatency(config.expected_accuracy) if self.needs_labels else IncorporationLatency()
        )

    def request(self, view: View) -> Mapping[str, Json] | None:
        """What the regret is made of."""
        return self._regret.request(view)

    def judge(self, view: View, observation: Observation | None) -> Judgement:
        """Fires if the regret is worth a training."""
        return self._weigh(view, observed(observation, METRIC))

    def warm_up(self, view: View, observation: Observation | None) -> Judgement:
        """Waiting goes on; misclassifications do not count, but show what to expect of later models."""
        self._regret.note(observed(observation, METRIC))
        return self._weigh(view, None)

    def pass_over(self, view: View) -> None:
        """Waiting goes on."""
        self._regret.add(view, None)

    def on_fire(self, position: int) -> None:
        """The regret begins anew."""
        self._since = position + 1
        self._regret.on_fire(position)

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """One more point for the forecast."""
        self._forecast.note(num_samples, seconds)

    def on_new_model(self, model: Mapping[str, Json], position: int) -> None:
        """The regret is told."""
        self._regret.on_new_model()

    def state_dict(self) -> dict[str, Json]:
        """The regret, and the points of the forecast."""
        return {"regret": self._regret.state_dict(), "forecast": self._forecast.state(), "since": self._since}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._regret.load_state_dict(state["regret"])
        self._forecast.load(state["forecast"])
        self._since = state["since"]

    def _weigh(self, view: View, accuracy: float | None) -> Judgement:
        worth_s = self._regret.add(view, accuracy) / self._price
        seconds = self._forecast.of(num_trained_on(view.samples, view.interval.position, self._since))
        if seconds is None:
            return Judgement(fires=True, reason="no training has been timed yet", observation=worth_s)
        threshold = max(0.0, seconds)
        return Judgement(
            fires=worth_s >= threshold,
            reason=f"the regret is worth {worth_s:.4g} s, a training takes {threshold:.4g} s",
            observation=worth_s,
            threshold=threshold,
            signal=worth_s - seconds,
        )


def cost_trigger(config: CostTriggerConfig) -> IntervalTrigger:
    """A fresh trigger, at the start of the stream."""
    return IntervalTrigger(CostJudge(config), config.interval, warmup=config.warmup, cooldown=config.cooldown)
