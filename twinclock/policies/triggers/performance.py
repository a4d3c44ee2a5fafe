"""A trigger on the scores of the active model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from twinclock.graph import Json
from twinclock.policies.metrics import METRIC_NAMES, find_metric
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
    AvoidableMisclassifications,
    AvoidableMisclassificationsRule,
)
from twinclock.policies.triggers.protocol import DependsOn, Observation
from twinclock.policies.triggers.rules import QuantileRule, RollingRule, StaticRule, ThresholdMemory
from twinclock.policies.triggers.schedule import IntervalLength
from twinclock.section import ListOf, Section, WrongKeyError

PerformanceRule: TypeAlias = Annotated[
    StaticRule | QuantileRule | RollingRule | AvoidableMisclassificationsRule, Field(discriminator="kind")
]


class PerformanceTriggerConfig(Section):
    """Fires when the active model does badly on the latest samples.

    At the end of every interval the active model is scored on that interval, and every rule judges the score of its
    metric; fires if one of the rules does. With a label delay L a decision about an interval is made L later. Without a
    model, and without a training that could bring one, it fires at once.
    """

    source: ClassVar[str] = ""

    kind: Literal["performance"] = "performance"
    interval: IntervalLength
    """From one decision to the next: a number of samples, or a duration of data time. [samples, or s of data time]"""
    rules: ListOf[PerformanceRule] = Field(min_length=1)
    """It fires if any of them does."""
    warmup: WarmupConfig | None = None
    """A simple trigger for the first decisions; None: none."""
    cooldown: CooldownConfig | None = None
    """Least distance between two triggers; None: none."""

    @model_validator(mode="after")
    def _known_metrics(self) -> PerformanceTriggerConfig:
        for index, rule in enumerate(self.rules):
            name, metric = _metric(rule), find_metric(_metric(rule))
            if metric is None:
                raise WrongKeyError(f"rules.{index}.metric", f"got {name}, expected one of {', '.join(METRIC_NAMES)}")
            if isinstance(rule, StaticRule):
                low, high = sorted((metric.worst, metric.best))
                if not low <= rule.threshold <= high:
                    expected = f"expected a value of {name}: {low:g} to {high:g}"
                    raise WrongKeyError(f"rules.{index}.threshold", f"got {rule.threshold:g}, {expected}")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """What has to be measured."""
        return tuple(dict.fromkeys(_metric(rule) for rule in self.rules))


class PerformanceJudge:
    """Shows every rule the score of its metric."""

    depends_on: DependsOn = "scores"
    needs_labels = True

    def __init__(self, config: PerformanceTriggerConfig) -> None:
        self._metrics = config.metrics
        self._rules = [(rule, _memory(rule)) for rule in config.rules]

    def request(self, view: View) -> Mapping[str, Json]:
        """Every metric, of the active model on the interval."""
        interval = view.interval
        return score_request(decision=interval.number, first=interval.first, stop=interval.stop, metrics=self._metrics)

    def judge(self, view: View, observation: Observation | None) -> Judgement:
        """Fires if any rule does, and reports the first that does, else the first; every rule takes the interval in."""
        judgements = []
        for rule, memory in self._rules:
            name = _metric(rule)
            value = observed(observation, name)
            verdict = memory.judge(value, view.num_samples)
            judgements.append(
                Judgement(
                    fires=verdict.fires,
                    reason=f"{name} could not be measured" if value is None else f"{rule.kind} rule on {name}",
                    observation=value,
                    threshold=verdict.threshold,
                    signal=verdict.signal,
                )
            )
        return next((each for each in judgements if each.fires), judgements[0])

    def warm_up(self, view: View, observation: Observation | None) -> Judgement:
        """Rules remember what they are shown; misclassifications do not count."""
        for rule, memory in self._rules:
            memory.note(observed(observation, _metric(rule)))
        return Judgement(fires=False, reason="", observation=observed(observation, self._metrics[0]))

    def pass_over(self, view: View) -> None:
        """Without a model there is nothing to remember."""

    def on_fire(self, position: int) -> None:
        """Misclassifications are counted anew."""
        for _, memory in self._rules:
            memory.on_fire()

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json], position: int) -> None:
        """The next accuracy is the first of a model."""
        for _, memory in self._rules:
            memory.on_new_model()

    def state_dict(self) -> dict[str, Json]:
        """`rules`: for each what it remembers."""
        return {"rules": [memory.state_dict() for _, memory in self._rules]}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        for (_, memory), its in zip(self._rules, state["rules"], strict=True):
            memory.load_state_dict(its)


def performance_trigger(config: PerformanceTriggerConfig) -> IntervalTrigger:
    """A fresh trigger, at the start of the stream."""
    return IntervalTrigger(PerformanceJudge(config), config.interval, warmup=config.warmup, cooldown=config.cooldown)


def _metric(rule: PerformanceRule) -> str:
    return METRIC if isinstance(rule, AvoidableMisclassificationsRule) else rule.metric or METRIC


def _memory(rule: PerformanceRule) -> ThresholdMemory | AvoidableMisclassifications:
    if isinstance(rule, AvoidableMisclassificationsRule):
        return AvoidableMisclassifications(rule)
    metric = find_metric(_metric(rule))
    assert metric is not None  # checked with the configuration
    return ThresholdMemory(rule, metric.bad)
