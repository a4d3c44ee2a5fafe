"""Triggers that decide at intervals: what drift, performance and cost triggers have in common.

The trigger says when a decision is due, whether it may be made, and whether its fire counts; what it
decides by is a `Judge`'s business. In this order:

1. No model, and no training that could bring one: fires, and asks for nothing.
2. No model yet, but a training under way: asks for nothing and does not fire; the judge is told that time passes.
3. The judge says what it wants observed, if anything, and after that what it thinks.
4. Warm-up: the first decisions answer whether a simple trigger fired on a sample of the interval.
5. Cooldown: a fire too soon after the last one that became a trigger is suppressed; the decision stands in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import Field, model_validator

from twinclock.durations import Duration
from twinclock.graph import Json
from twinclock.policies.triggers.protocol import (
    Answer,
    Decision,
    DependsOn,
    Fire,
    Observation,
    Observe,
    Quiet,
    Samples,
    Verdict,
)
from twinclock.policies.triggers.schedule import Interval, Schedule
from twinclock.policies.triggers.simple import SimpleTriggerConfig, build_simple
from twinclock.section import Section
from twinclock.stream import DataTime


class CooldownConfig(Section):
    """How soon after a trigger the next may come: in samples, or in data time."""

    samples: int | None = Field(default=None, gt=0)
    """From one trigger to the next at least; either this or `seconds`. [samples]"""
    seconds: Duration | None = None
    """From one trigger to the next at least; either this or `samples`. [s of data time]"""

    @model_validator(mode="after")
    def _one(self) -> CooldownConfig:
        if (self.samples is None) == (self.seconds is None):
            raise ValueError("expected either samples or seconds")
        return self


class WarmupConfig(Section):
    """A simple trigger that answers in place of the first decisions."""

    intervals: int = Field(gt=0)
    """How many decisions it answers, counted from the first. [intervals]"""
    trigger: SimpleTriggerConfig
    """Answers yes for an interval if it fires on one of its samples."""


class View(NamedTuple):
    """What a judge is shown of a decision that is due."""

    interval: Interval
    samples: Samples
    has_model: bool

    @property
    def num_samples(self) -> int:
        """In the interval."""
        return self.interval.stop - self.interval.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a judge thinks of an interval."""

    fires: bool
    reason: str
    observation: float | None = None
    threshold: float | None = None
    signal: float | None = None


class Judge(Protocol):
    """Decides about intervals by what was observed of them. Its state is JSON, like a trigger's."""

    @property
    def depends_on(self) -> DependsOn:
        """What its judgements depend on."""

    @property
    def needs_labels(self) -> bool:
        """Can it only judge once the labels of the interval are known?"""

    def request(self, view: View) -> Mapping[str, Json] | None:
        """What it wants observed before it judges; None if nothing."""

    def judge(self, view: View, observation: Observation | None) -> Judgement:
        """Judge an interval; `observation` is None if nothing was asked for, or if observing failed."""

    def warm_up(self, view: View, observation: Observation | None) -> Judgement:
        """Take an interval in without judging it; `fires` is not looked at."""

    def pass_over(self, view: View) -> None:
        """An interval passes that nothing can be said of, for there is no model."""

    def on_fire(self, position: int) -> None:
        """As for a trigger."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """As for a trigger."""

    def on_new_model(self, model: Mapping[str, Json], position: int) -> None:
        """As for a trigger; the first sample that can meet the model is the one at `position`."""

    def state_dict(self) -> dict[str, Json]:
        """As for a trigger."""

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """As for a trigger."""


class IntervalTrigger:
    """Puts decisions of a judge on a schedule."""

    def __init__(
        self,
        judge: Judge,
        length: int | str,
        *,
        warmup: WarmupConfig | None = None,
        cooldown: CooldownConfig | None = None,
    ) -> None:
        self.depends_on: DependsOn = judge.depends_on
        self._judge = judge
        self._schedule = Schedule(length, needs_labels=judge.needs_labels)
        self._warmup_intervals = 0 if warmup is None else warmup.intervals
        self._warmup = None if warmup is None else build_simple(warmup.trigger)
        self._cooldown = cooldown
        self._has_model = False
        self._asked: Interval | None = None
        """The interval that an observation is awaited for."""
        self._last_fire: int | None = None
        self._read = 0
        self._deadline: DataTime | None = None

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Decide about each interval that the samples show to be over, up to one that fires or wants something."""
        decisions: list[Decision] = []
        while True:
            answered = self._asked
            interval = answered or self._schedule.next_due(samples)
            if interval is None:
                self._read = max(self._read, samples.stop)
                self._deadline = self._schedule.next_deadline(samples)
                return Quiet(decisions=tuple(decisions))
            self._read = max(self._read, interval.position + 1)
            view = View(interval, samples, self._has_model)
            if answered is None and self._has_model:
                request = self._judge.request(view)
                if request is not None:
                    self._asked = interval
                    return Observe(request=request, position=interval.position, decisions=tuple(decisions))
            self._asked = None
            decision = self._decide(view, observation if answered is not None else None)
            decisions.append(decision)
            if decision.verdict == "fired":
                return Fire(position=interval.position, reason=decision.reason, decisions=tuple(decisions))

    def on_fire(self, position: int) -> None:
        """The cooldown begins; the judge is told."""
        self._last_fire = position
        self._judge.on_fire(position)

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """The judge is told."""
        self._judge.on_training_cost(num_samples, seconds)

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """From now on there is something to score; the judge is told."""
        self._has_model = True
        self._judge.on_new_model(model, self._read)

    def next_deadline(self) -> DataTime | None:
        """When the current period is over, or the labels of an interval are known."""
        return self._deadline

    def state_dict(self) -> dict[str, Json]:
        """The schedule, what is awaited, and the judge's own state."""
        return {
            "schedule": self._schedule.state_dict(),
            "has_model": self._has_model,
            "asked": None if self._asked is None else list(self._asked),
            "last_fire": self._last_fire,
            "read": self._read,
            "deadline": self._deadline,
            "warmup": None if self._warmup is None else self._warmup.state_dict(),
            "judge": self._judge.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._schedule.load_state_dict(state["schedule"])
        self._has_model = state["has_model"]
        self._asked = None if state["asked"] is None else Interval(*state["asked"])
        self._last_fire = state["last_fire"]
        self._read = state["read"]
        self._deadline = state["deadline"]
        if self._warmup is not None:
            self._warmup.load_state_dict(state["warmup"])
        self._judge.load_state_dict(state["judge"])

    def _decide(self, view: View, observation: Observation | None) -> Decision:
        interval, samples = view.interval, view.samples
        if not self._has_model:
            self._judge.pass_over(view)
            self._simple_trigger_fires(view)
            if samples.training_under_way:
                judgement = Judgement(fires=False, reason="no model yet, but a training under way")
            else:
                judgement = Judgement(fires=True, reason="no model yet")
        elif interval.number < self._warmup_intervals:
            seen = self._judge.warm_up(view, observation)
            fires = self._simple_trigger_fires(view)
            judgement = Judgement(
                fires=fires,
                reason="warm-up",
                observation=seen.observation,
                threshold=seen.threshold,
                signal=seen.signal,
            )
        else:
            judgement = self._judge.judge(view, observation)
        verdict: Verdict = "fired" if judgement.fires else "none"
        reason = judgement.reason
        if judgement.fires and self._is_cooling_down(interval.position, samples):
            verdict, reason = "suppressed", f"{reason}; cooldown"
        return Decision(
            first=interval.first,
            stop=interval.stop,
            verdict=verdict,
            reason=reason,
            observation=judgement.observation,
            threshold=judgement.threshold,
            signal=judgement.signal,
        )

    def _is_cooling_down(self, position: int, samples: Samples) -> bool:
        if self._cooldown is None or self._last_fire is None:
            return False
        if self._cooldown.samples is not None:
            return position - self._last_fire < self._cooldown.samples
        assert self._cooldown.seconds is not None  # one of the two is set
        since_s = samples.stream.timestamp(position) - samples.stream.timestamp(max(0, self._last_fire))
        return since_s < self._cooldown.seconds

    def _simple_trigger_fires(self, view: View) -> bool:
        """Does the warm-up's trigger fire on a sample of the interval? It sees just these, so a period counts where its
        closing sample is."""
        interval, fires = view.interval, False
        if self._warmup is None or interval.number >= self._warmup_intervals:
            return False
        samples = Samples(stream=view.samples.stream, first=interval.first, stop=interval.stop)
        while isinstance(self._warmup.advance(samples, None), Fire):
            fires = True
        return fires
