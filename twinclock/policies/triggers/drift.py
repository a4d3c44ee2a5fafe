"""A trigger on how far the samples have moved away from those that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from twinclock.graph import Json
from twinclock.policies.observations import ERROR, Distance, distance_request, observed
from twinclock.policies.triggers.interval import (
    CooldownConfig,
    IntervalTrigger,
    Judgement,
    View,
    WarmupConfig,
)
from twinclock.policies.triggers.protocol import DependsOn, Observation
from twinclock.policies.triggers.rules import HypothesisTestRule, Rule, StaticRule, ThresholdMemory, Verdict
from twinclock.policies.triggers.schedule import IntervalLength
from twinclock.policies.triggers.votes import AtLeast, Quorum, needed
from twinclock.policies.triggers.windows import Window, WindowsConfig, current_window, reference_window
from twinclock.section import ListOf, Section, WrongKeyError
from twinclock.seeds import Purpose, derived_seed
from twinclock.stream import Stream

DistanceName: TypeAlias = Literal["mmd", "ks", "cvm", "wasserstein", "hellinger", "js", "psi", "energy", "c2st"]
TESTABLE = ("mmd", "ks", "cvm", "energy", "c2st")
"""Distances that are the statistic of a test."""


class DistanceMetric(Section):
    """A distance between the two windows, and the rule that judges it."""

    kind: DistanceName
    """Which distance."""
    rule: Rule
    """What the distance is held against; `hypothesis_test` judges the p-value of its own test instead."""

    @model_validator(mode="after")
    def _fitting(self) -> DistanceMetric:
        if not isinstance(self.rule, HypothesisTestRule) and self.rule.metric is not None:
            raise WrongKeyError("rule.metric", f"got {self.rule.metric}, but a distance has no metric to name")
        if isinstance(self.rule, HypothesisTestRule) and self.kind not in TESTABLE:
            raise WrongKeyError(
                "rule.kind", f"got hypothesis_test, which {self.kind} has not; {', '.join(TESTABLE)} have"
            )
        if isinstance(self.rule, StaticRule) and self.rule.threshold < 0 and self.kind != "mmd":
            expected = f"expected at least 0, for {self.kind} is never less; only mmd is, by chance"
            raise WrongKeyError("rule.threshold", f"got {self.rule.threshold:g}, {expected}")
        return self


class DetectorMetric(Section):
    """A streaming detector, fed one number of every sample in order; a trigger starts a new one."""

    kind: Literal["adwin", "page_hinkley", "kswin"]
    """Which detector."""
    value: str = ERROR
    """What it is fed: a numeric feature, or `error`, 1 where the active model was wrong, else 0."""


DriftMetric: TypeAlias = Annotated[DistanceMetric | DetectorMetric, Field(discriminator="kind")]


class DriftTriggerConfig(Section):
    """Fires when the latest samples differ from those before the last trigger.

    At the end of every interval each metric has a vote. A distance compares the current window with the reference
    window, and its rule judges the value. A detector is fed every sample since the last trigger, in order, and votes
    for a fire if it reported drift at a sample of the interval. Fires if as many vote for it as `aggregate` says;
    `majority` is more than half of all metrics. Windows of fewer than two samples decide nothing. Without a model,
    and without a training that could bring one, it fires at once; the first interval of a run that begins with a
    model is the reference, and does not fire.
    """

    source: ClassVar[str] = ""

    kind: Literal["drift"] = "drift"
    interval: IntervalLength
    """From one decision to the next: a number of samples, or a duration of data time. [samples, or s of data time]"""
    metrics: dict[str, DriftMetric] = Field(min_length=1)
    """Distances and detectors, each by a name of your own."""
    windows: WindowsConfig | None = None
    """What distances compare; detectors need none."""
    aggregate: Quorum = "majority"
    """How many of the metrics have to call for a training."""
    features: ListOf[str] | None = None
    """Numeric columns to look at; None: all numeric features."""
    of: Literal["features", "embeddings"] = "features"
    """Compare features, or what the active model makes of them before its last layer."""
    sample: int | None = Field(default=None, gt=1)
    """Look at so many samples of each window at most, drawn at random; None: all. [samples]"""
    warmup: WarmupConfig | None = None
    """A simple trigger for the first decisions; None: none."""
    cooldown: CooldownConfig | None = None
    """Least distance between two triggers; None: none."""

    @model_validator(mode="after")
    def _consistent(self) -> DriftTriggerConfig:
        compared = [name for name, metric in self.metrics.items() if isinstance(metric, DistanceMetric)]
        if compared and self.windows is None:
            raise WrongKeyError("windows", f"missing, and {compared[0]} needs two windows to compare")
        if not compared and self.windows is not None:
            raise WrongKeyError("windows", "not needed, for detectors have no windows")
        if isinstance(self.aggregate, AtLeast) and self.aggregate.k > len(self.metrics):
            raise WrongKeyError("aggregate.k", f"got {self.aggregate.k}, expected at most {len(self.metrics)}")
        if self.of == "embeddings" and self.features is not None:
            raise WrongKeyError("features", "not with `of: embeddings`, which are made of all features")
        return self

    @property
    def looks_at_models(self) -> bool:
        """Does it depend on what models make of the samples?"""
        watches = any(isinstance(each, DetectorMetric) and each.value == ERROR for each in self.metrics.values())
        return watches or self.of == "embeddings"


class DriftJudge:
    """Keeps the windows as positions, and for each metric what its rule remembers."""

    def __init__(self, config: DriftTriggerConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._watches = any(
            isinstance(each, DetectorMetric) and each.value == ERROR for each in config.metrics.values()
        )
        self.depends_on: DependsOn = "scores" if config.looks_at_models else "data"
        self.needs_labels = self._watches
        self._memories = {
            name: ThresholdMemory(metric.rule, "higher")
            for name, metric in config.metrics.items()
            if isinstance(metric, DistanceMetric)
        }
        self._begin = 0
        """Where the reference window was begun."""
        self._last_fire = -1
        self._has_reference = False
        self._models: list[tuple[int, Mapping[str, Json]]] = []
        """If a detector watches: who gave the answers since the last fire, as first position and lineage entry."""

    def request(self, view: View) -> Mapping[str, Json] | None:
        """All distances between the windows, and what detectors report; nothing if a window is too small."""
        interval, config = view.interval, self._config
        windows = self._windows(view.samples.stream, interval.stop)
        if windows is None or (config.windows is not None and min(_size(window) for window in windows) < 2):
            return None
        return distance_request(
            decision=interval.number,
            first=interval.first,
            stop=interval.stop,
            metrics={name: self._wanted(metric) for name, metric in config.metrics.items()},
            reference=windows[0],
            current=windows[1],
            of=config.of,
            features=config.features,
            sample=config.sample,
            seed=derived_seed(self._seed, Purpose.DRIFT, interval.number),
            scored_by=self._scored_by(interval.stop),
        )

    def judge(self, view: View, observation: Observation | None) -> Judgement:
        """Fires if enough metrics call for it."""
        if self._windows(view.samples.stream, view.interval.stop) is None:
            self._begin, self._last_fire, self._has_reference = view.interval.first, view.interval.stop - 1, True
            return Judgement(fires=False, reason="the first interval is the reference")
        if observation is None:
            return Judgement(fires=False, reason="nothing to compare: a window of fewer than two samples, or a failure")
        verdicts = {name: self._verdict(name, observed(observation, name)) for name in self._config.metrics}
        votes = [name for name, verdict in verdicts.items() if verdict.fires]
        told = votes[0] if votes else next(iter(verdicts))
        return Judgement(
            fires=len(votes) >= needed(self._config.aggregate, len(verdicts)),
            reason=f"{', '.join(votes) or 'none'} of {', '.join(verdicts)}",
            observation=observed(observation, told),
            threshold=verdicts[told].threshold,
            signal=observed(observation, next(iter(verdicts))),
        )

    def warm_up(self, view: View, observation: Observation | None) -> Judgement:
        """Rules remember the distances; windows move on fires only."""
        for name, memory in self._memories.items():
            memory.note(observed(observation, name))
        return Judgement(fires=False, reason="", observation=observed(observation, next(iter(self._config.metrics))))

    def pass_over(self, view: View) -> None:
        """Windows are positions: they move by themselves."""

    def on_fire(self, position: int) -> None:
        """The reference takes everything up to here; detectors begin anew."""
        self._last_fire = position
        self._has_reference = self._has_reference or position >= 0
        self._models = self._models[-1:]

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json], position: int) -> None:
        """Whose errors a detector is fed from now on."""
        if self._watches:
            self._models = [*self._models, (position, model)]

    def state_dict(self) -> dict[str, Json]:
        """Windows as positions, what rules remember, and the models that are watched."""
        return {
            "begin": self._begin,
            "last_fire": self._last_fire,
            "has_reference": self._has_reference,
            "models": [[position, dict(model)] for position, model in self._models],
            "metrics": {name: memory.state_dict() for name, memory in self._memories.items()},
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._begin, self._last_fire = state["begin"], state["last_fire"]
        self._has_reference = state["has_reference"]
        self._models = [(position, model) for position, model in state["models"]]
        for name, memory in self._memories.items():
            memory.load_state_dict(state["metrics"][name])

    def _windows(self, stream: Stream, stop: int) -> tuple[Window, Window] | None:
        """Reference and current; None if there is no reference to compare with yet. Detectors need neither."""
        config = self._config.windows
        if config is None:
            return (stop, stop), (stop, stop)
        if not self._has_reference:
            return None
        reference = reference_window(config, stream, self._begin, self._last_fire)
        return reference, current_window(config, stream, self._last_fire, stop)

    def _wanted(self, metric: DriftMetric) -> Distance:
        if isinstance(metric, DistanceMetric):
            is_test = isinstance(metric.rule, HypothesisTestRule)
            return {"kind": metric.kind, "result": "p_value" if is_test else "distance"}
        since = self._last_fire + 1
        if metric.value == ERROR and self._models:
            since = max(since, self._models[0][0])
        seed = derived_seed(self._seed, Purpose.DETECTOR, since)
        return {"kind": metric.kind, "result": "detection", "value": metric.value, "since": since, "seed": seed}

    def _scored_by(self, stop: int) -> Sequence[tuple[int, int, Mapping[str, Json]]]:
        """Who gave the answers since the last fire: [first, stop, lineage entry]."""
        edges = [*(max(position, self._last_fire + 1) for position, _ in self._models), stop]
        stretches = zip(pairwise(edges), self._models, strict=True)
        return [(begin, end, model) for (begin, end), (_, model) in stretches if begin < end]

    def _verdict(self, name: str, value: float | None) -> Verdict:
        memory = self._memories.get(name)
        if memory is not None:
            return memory.judge(value, 0)
        return Verdict(value is not None and value > 0, None, None)


def drift_trigger(config: DriftTriggerConfig, seed: int) -> IntervalTrigger:
    """A fresh trigger, at the start of the stream; `seed` is the run's."""
    return IntervalTrigger(DriftJudge(config, seed), config.interval, warmup=config.warmup, cooldown=config.cooldown)


def _size(window: Window) -> int:
    return window[1] - window[0]
