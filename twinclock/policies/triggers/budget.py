"""A trigger that lets another one fire only as far as a budget reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from twinclock.durations import Duration
from twinclock.graph import Json
from twinclock.policies.triggers.protocol import (
    Answer,
    Decision,
    DependsOn,
    Fire,
    Observation,
    Samples,
    Trigger,
    strongest,
)
from twinclock.policies.triggers.training_cost import TrainingSeconds, num_trained_on
from twinclock.section import Section, WrongKeyError
from twinclock.stream import DataTime

if TYPE_CHECKING:
    from twinclock.policies.triggers import TriggerConfig

_SIGNALLING = ("drift", "performance", "cost")
"""Kinds whose decisions can be ranked."""
_SIGNALS_KEPT = 1000
_TRAININGS_KEPT = 1000
_SECONDS_PER_HOUR = 3600.0


class BudgetTriggerConfig(Section):
    """Lets another trigger fire only as far as a budget reaches.

    A fire is charged what its training is forecast to cost (as in `cost`; nothing before the first training),
    corrected once it is known. `greedy`: passes while limit − charges covers it. `even`: a credit grows by limit /
    horizon a second of data time, and passes what it covers. `top`: passes if it fits and its signal is at or above
    the (1 − r)-quantile of the signals so far, where r = fires that still fit / decisions left in the horizon. The
    signal of a decision is the distance (drift), how far the score is beyond its threshold (performance), or A / f −
    T (cost). Horizons follow one another from the first sample on.
    """

    source: ClassVar[str] = ""

    kind: Literal["budget"] = "budget"
    of: TriggerConfig
    """The trigger that is held back."""
    limit: float = Field(gt=0)
    """How much there is for each horizon, in what `unit` says. [trainings, device-s or USD]"""
    unit: Literal["trainings", "gpu_seconds", "money"] = "trainings"
    """What is counted: trainings, seconds that devices are held for them, or what these cost."""
    horizon: Duration | None = None
    """How long the limit has to last; None: for the whole stream. [s of data time]"""
    pace: Literal["greedy", "even", "top"] = "greedy"
    """How the budget is spread over the horizon."""
    usd_per_device_hour: float | None = Field(default=None, gt=0)
    """For `money`, and only there: the price of a device. [USD per device-hour]"""

    @model_validator(mode="after")
    def _complete(self) -> BudgetTriggerConfig:
        if self.pace != "greedy" and self.horizon is None:
            raise WrongKeyError("horizon", f"missing, and pace {self.pace} spreads the limit over one")
        if self.pace == "top" and self.of.kind not in _SIGNALLING:
            expected = f"expected one of {', '.join(_SIGNALLING)}, whose decisions can be ranked"
            raise WrongKeyError("of.kind", f"got {self.of.kind} with pace top, {expected}")
        if (self.unit == "money") != (self.usd_per_device_hour is not None):
            text = "missing, and unit money needs it" if self.unit == "money" else f"not with unit {self.unit}"
            raise WrongKeyError("usd_per_device_hour", text)
        return self


class BudgetTrigger:
    """Keeps the accounts of one horizon."""

    def __init__(self, config: BudgetTriggerConfig, held_back: Trigger, num_devices: int) -> None:
        self.depends_on: DependsOn = strongest(held_back.depends_on, "data" if config.unit == "trainings" else "clock")
        self._config = config
        self._inner = held_back
        self._price = _price(config, num_devices)
        self._seconds = TrainingSeconds(_TRAININGS_KEPT)
        self._horizon = 0
        """Number of the current horizon."""
        self._spent = 0.0
        """Known costs of its trainings."""
        self._forecasts: list[list[float]] = []
        """Charges that no report has corrected yet: [horizon, samples, charge]."""
        self._passed: list[float] | None = None
        """The charge of the fire that was let through last, until it is known to be a trigger."""
        self._since = 0
        self._signals: list[float] = []
        self._num_decisions = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Read on with the other trigger, up to a fire that the budget covers or an observation that it wants."""
        decisions: list[Decision] = []
        while True:
            answer = self._inner.advance(samples, observation)
            observation = None
            self._note_signals(answer.decisions)
            if not isinstance(answer, Fire):
                return replace(answer, decisions=(*decisions, *answer.decisions))
            refused = self._refusal(samples, answer)
            if refused is None:
                return replace(answer, decisions=(*decisions, *answer.decisions))
            decisions += [_suppressed(each, refused) for each in answer.decisions]

    def on_fire(self, position: int) -> None:
        """The fire that was let through is charged."""
        if self._passed is not None:
            horizon, num_samples, charge = self._passed
            if num_samples > 0:
                self._forecasts.append(self._passed)
            elif horizon == self._horizon:
                self._spent += charge  # trains nothing, so no report will correct it
            self._passed = None
        self._since = position + 1
        self._inner.on_fire(position)

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Puts the real cost in place of the forecast that it belongs to: the oldest of that size, else the oldest."""
        self._seconds.note(num_samples, seconds)
        fitting = [charge for charge in self._forecasts if charge[1] == num_samples] or self._forecasts
        if fitting:
            charge = fitting[0]
            self._forecasts = [each for each in self._forecasts if each is not charge]
            if charge[0] == self._horizon:
                self._spent += 1.0 if self._price is None else seconds * self._price
        self._inner.on_training_cost(num_samples, seconds)

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """The other trigger is told."""
        self._inner.on_new_model(model)

    def next_deadline(self) -> DataTime | None:
        """The other trigger's."""
        return self._inner.next_deadline()

    def state_dict(self) -> dict[str, Json]:
        """The accounts, and the other trigger's state."""
        return {
            "horizon": self._horizon,
            "spent": self._spent,
            "forecasts": [list(each) for each in self._forecasts],
            "passed": self._passed,
            "since": self._since,
            "signals": self._signals,
            "num_decisions": self._num_decisions,
            "seconds": self._seconds.state(),
            "of": self._inner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._horizon, self._spent = state["horizon"], state["spent"]
        self._forecasts = [list(each) for each in state["forecasts"]]
        self._passed, self._since = state["passed"], state["since"]
        self._signals, self._num_decisions = list(state["signals"]), state["num_decisions"]
        self._seconds.load(state["seconds"])
        self._inner.load_state_dict(state["of"])

    def _refusal(self, samples: Samples, fire: Fire) -> str | None:
        """Why the budget does not let a fire through; None if it does, which is noted."""
        now = samples.stream.timestamp(max(0, fire.position)) - samples.stream.timestamp(0)
        self._enter_horizon(now)
        num_samples = num_trained_on(samples, fire.position, self._since)
        charge = self._charge(num_samples)
        charges = self._spent + sum(c for h, _, c in self._forecasts if h == self._horizon)
        left = self._config.limit - charges
        if charge > left:
            return f"costs {charge:.4g} {self._config.unit}, {left:.4g} are left"
        if self._config.pace == "even":
            credit = self._grown_credit(now) - charges
            if charge > credit:
                return f"costs {charge:.4g} {self._config.unit}, the credit is {credit:.4g}"
        if self._config.pace == "top" and fire.decisions and (signal := fire.decisions[-1].signal) is not None:
            least = self._least_signal(now, left, charge)
            if signal < least:
                return f"its signal {signal:.4g} is below {least:.4g}"
        self._passed = [self._horizon, num_samples, charge]
        return None

    def _charge(self, num_samples: int) -> float:
        if self._price is None:
            return 1.0
        seconds = self._seconds.of(num_samples)
        return 0.0 if seconds is None else max(0.0, seconds) * self._price

    def _enter_horizon(self, now: float) -> None:
        """The accounts of a new horizon begin empty; `now`: data time since the first sample."""
        horizon = 0 if self._config.horizon is None else int(now // self._config.horizon)
        if horizon != self._horizon:
            self._horizon, self._spent = horizon, 0.0

    def _grown_credit(self, now: float) -> float:
        """What the current horizon has brought in so far."""
        assert self._config.horizon is not None  # checked with the configuration
        return self._config.limit / self._config.horizon * (now - self._horizon * self._config.horizon)

    def _least_signal(self, now: float, left: float, charge: float) -> float:
        """The signal that it takes, if the decisions left come at the pace of those until now."""
        assert self._config.horizon is not None  # checked with the configuration
        gap_s = now / self._num_decisions
        remaining_s = self._config.horizon * (self._horizon + 1) - now
        decisions_left = 1 + (math.floor(remaining_s / gap_s) if gap_s > 0 else 0)
        share = min(1.0, math.floor(left / charge) / decisions_left) if charge > 0 else 1.0
        return float(np.quantile(self._signals, 1.0 - share))

    def _note_signals(self, decisions: tuple[Decision, ...]) -> None:
        self._num_decisions += len(decisions)
        signals = [each.signal for each in decisions if each.signal is not None]
        if signals:
            self._signals = [*self._signals, *signals][-_SIGNALS_KEPT:]


def _price(config: BudgetTriggerConfig, num_devices: int) -> float | None:
    """What a second of training costs in the budget's unit; None if every training costs 1."""
    match config.unit:
        case "trainings":
            return None
        case "gpu_seconds":
            return float(num_devices)
        case "money":
            assert config.usd_per_device_hour is not None  # checked with the configuration
            return num_devices * config.usd_per_device_hour / _SECONDS_PER_HOUR


def _suppressed(decision: Decision, why: str) -> Decision:
    if decision.verdict != "fired":
        return decision
    return replace(decision, verdict="suppressed", reason=f"{decision.reason}; over budget: {why}")
