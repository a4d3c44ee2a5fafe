"""Training seconds by a formula: a setup, seconds a step, and a throughput."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sim.numbers import NotNegative, Positive
from sim.throughput.protocol import Held, Job
from sim.throughput.scaling import Scaling
from twinclock.config import TrainingConfig
from twinclock.section import Section


class TrainingCost(Section):
    """Seconds = setup + for each epoch: minibatches · seconds a step + samples / throughput.

    So a full minibatch takes step_s + batch_size / samples_per_s.
    """

    kind: Literal["formula"] = "formula"
    setup_s: NotNegative = 0.05
    """Seconds that depend on neither samples nor steps."""
    samples_per_s: Positive = 40_000.0
    """Throughput on one device, samples a second (each epoch counts its samples again)."""
    step_s: NotNegative = 0.0
    """Seconds of each minibatch, however many samples it has."""


class EvaluationCost(Section):
    """Seconds = setup + intervals · seconds an interval + samples / throughput."""

    kind: Literal["formula"] = "formula"
    setup_s: NotNegative = 0.02
    """Seconds of each job."""
    interval_s: NotNegative = 0.0
    """Seconds of each interval scored, however many samples it has."""
    samples_per_s: Positive = 500_000.0
    """Throughput, samples a second."""


@dataclass(frozen=True, slots=True)
class Formula:
    """The formula, on any devices.

    Twice the throughput have two devices that scale perfectly, and a device of twice the speed. The setup, and the
    seconds that a step takes whatever its samples, stay the same.
    """

    cost: TrainingCost
    scaling: Scaling
    forward_share: float
    """Share of a training's seconds a sample that a sample takes which is only scored."""
    said: tuple[str, ...] = ()
    """Where the figures are from, if that is to be noted."""

    def seconds(self, job: Job, held: Held, loading_s: float = 0.0) -> float:
        """Whichever takes longer, computing or loading, after the setup."""
        samples_per_s = self.cost.samples_per_s * self.scaling.multiple(held.devices) * held.speed
        samples_s = job.epochs * job.num_samples / samples_per_s
        steps_s = job.epochs * math.ceil(job.num_samples / job.batch_size) * self.cost.step_s
        scoring_s = self.forward_share * job.num_scored / samples_per_s
        return max(self.cost.setup_s + samples_s + steps_s + scoring_s, self.cost.setup_s + loading_s)

    def notes(self, training: TrainingConfig) -> tuple[str, ...]:
        """Where the figures are from."""
        return self.said
