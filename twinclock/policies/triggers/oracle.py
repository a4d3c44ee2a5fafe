"""The trainings that would have been the best, known from an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.cost_matrix import CostMatrix, oracle
from twinclock.policies.triggers.misclassifications import misses
from twinclock.policies.triggers.protocol import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime

if TYPE_CHECKING:
    from twinclock.config import Config
    from twinclock.result import Run

_NEEDED = "an evaluation plan {kind: between_triggers, models: all}"


class OracleTriggerConfig(Section):
    """Fires where an earlier run shows that trainings cost least: the best that any policy could have done.

    The earlier run trains at the end of every interval and scores every model between all triggers. M[i, j] is what the
    model of interval i costs on interval j (wrong answers, or samples times mean log loss; before the first model all
    samples), κ[i] = per_training_second · seconds of its training. The fires F are those that minimise Σ κ[i] over F +
    Σ M[last fire before j, j] over all j, found by dynamic programming: V(j) = κ[j] + min(Σ M[−, k] up to j, min over
    i < j of V(i) + Σ M[i, k] for i < k ≤ j). On a tie fewer, then earlier ones. With a delay d a model answers from the
    interval i + 1 + d on. What a policy costs above that is its regret.

    A model may depend on nothing but the trigger that it was trained at: from scratch, on all data so far, or on a
    window or limit of them. Other configurations are refused, and so is an earlier run that trained other models.
    """

    source: ClassVar[str] = ""

    kind: Literal["oracle"] = "oracle"
    run: str
    """The folder of the earlier run, with the same `data`, `selection` and `training`, and the evaluation plan
    `{kind: between_triggers, models: all}`."""
    per_training_second: float = Field(gt=0)
    """What a second of training may cost in wrong answers, or in log loss. [answers, or nats, per s of training]"""
    metric: Literal["accuracy", "log_loss"] = "accuracy"
    """What wrong answers are counted by."""
    delay: int = Field(default=0, ge=0)
    """How long it takes until a trained model answers. [intervals]"""


class OracleTrigger:
    """Fires at given positions."""

    depends_on: DependsOn = "data"

    def __init__(self, positions: tuple[int, ...]) -> None:
        self._positions = positions
        self._reached = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire at the next of the positions."""
        position = next((each for each in self._positions if each >= self._reached), None)
        if position is None or position >= samples.stop:
            self._reached = max(self._reached, samples.stop)
            return Quiet()
        decision = Decision(first=self._reached, stop=position + 1, verdict="fired", reason="the best in hindsight")
        self._reached = position + 1
        return Fire(position=position, reason=decision.reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Nothing to learn: everything was known before."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """None: positions are samples."""
        return None

    def state_dict(self) -> dict[str, Json]:
        """`reached`: the first position not yet read."""
        return {"reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._reached = state["reached"]


def oracle_trigger(config: OracleTriggerConfig) -> OracleTrigger:
    """A fresh trigger. RunError or ConfigError if the earlier run is not there, or does not tell enough."""
    from twinclock.result import Run

    run = Run.load(config.run)
    matrix = measured_costs(run, per_training_second=config.per_training_second, metric=config.metric)
    positions = _with_samples(run)["position"].to_list()
    return OracleTrigger(tuple(positions[i] for i in oracle(matrix, delay=config.delay).fires))


def different_training(config: OracleTriggerConfig, ours: Config) -> str | None:
    """The section in which the earlier run would have trained other models than `ours` does; None if there is none."""
    from twinclock.result import Run

    theirs = Run.load(config.run).config
    return next(
        (name for name in ("data", "selection", "training") if getattr(theirs, name) != getattr(ours, name)), None
    )


def measured_costs(
    run: Run, *, per_training_second: float, metric: Literal["accuracy", "log_loss"] = "accuracy"
) -> CostMatrix:
    """The costs over the intervals between the triggers of a run that trained at each and scored all models.

    Cost of an interval: wrong answers, or samples times mean log loss; before the first model its samples. Of a
    training: its seconds on the device, times `per_training_second`. ConfigError if the run is unfinished, a training
    failed, or a score is missing.
    """
    if run.outcome != "done":
        raise ConfigError(f"{run.folder}: the run is not done, expected a finished one to take costs from")
    triggers = _with_samples(run)
    plan = next(
        (
            number
            for number, each in enumerate(run.config.evaluation.plans)
            if each.kind == "between_triggers" and each.models == "all"
        ),
        None,
    )
    if plan is None or metric not in run.config.evaluation.metrics:
        raise ConfigError(f"{run.folder}: expected a run with {_NEEDED} and the metric {metric}")
    serials = triggers["trigger"].to_list()
    m = len(serials)
    by_trigger = {serial: index for index, serial in enumerate(serials)}
    seconds = run.trainings.filter(pl.col("outcome") == "trained").select(
        "trigger", (pl.col("ended_s") - pl.col("granted_s")).alias("seconds")
    )
    training = np.full(m, np.nan)
    for serial, each in seconds.iter_rows():
        training[by_trigger[serial]] = each * per_training_second
    intervals = {
        (first_ts, last_ts + 1.0): index
        for index, (first_ts, last_ts) in enumerate(triggers.select("first_ts", "last_ts").iter_rows())
    }
    sizes = triggers["num_samples"].to_numpy().astype(np.float64)
    answering = np.full((m, m), np.nan)
    scores = run.evaluations.filter((pl.col("plan") == plan) & (pl.col("metric") == metric))
    for model, start, end, value, number in scores.select(
        "model", "start_ts", "end_ts", "value", "num_samples"
    ).iter_rows():
        j = intervals.get((start, end))
        if j is not None and value is not None:
            answering[by_trigger[model], j] = misses(value, number) if metric == "accuracy" else value * number
    missing = np.argwhere(np.isnan(answering) & np.triu(np.ones((m, m), bool), 1))
    if np.isnan(training).any() or len(missing):
        what = f"model {serials[missing[0][0]]} was not scored everywhere" if len(missing) else "a training failed"
        raise ConfigError(f"{run.folder}: {what}, expected a model after each trigger and {_NEEDED}")
    return CostMatrix(initial=sizes, answering=answering, training=training)


def _with_samples(run: Run) -> pl.DataFrame:
    return run.triggers.filter(pl.col("training_samples") > 0).sort("trigger")
