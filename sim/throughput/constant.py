"""Seconds that are the same whatever there is to do."""

from __future__ import annotations

from typing import Literal

from sim.numbers import NotNegative
from sim.throughput.protocol import Held, Job
from twinclock.config import TrainingConfig
from twinclock.section import Section


class ConstantCost(Section):
    """The same seconds for any number of samples, epochs and devices."""

    kind: Literal["constant"] = "constant"
    seconds: NotNegative


class Constant:
    """One number."""

    def __init__(self, cost: ConstantCost) -> None:
        self._seconds = cost.seconds

    def seconds(self, job: Job, held: Held, loading_s: float = 0.0) -> float:
        """The number: loading is part of it."""
        return self._seconds

    def notes(self, training: TrainingConfig) -> tuple[str, ...]:
        """There is nothing to say."""
        return ()
