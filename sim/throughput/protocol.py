"""What a simulated run asks of a source of training seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twinclock.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be computed."""

    num_samples: int
    """That each epoch steps on."""
    epochs: int
    batch_size: int
    """Samples in a minibatch, over all devices."""
    num_scored: int = 0
    """Samples that only go forward through the model, over all epochs."""


@dataclass(frozen=True, slots=True)
class Held:
    """What it is computed on."""

    devices: float = 1.0
    """Devices on one node that would do as much; not whole where some are on another node."""
    speed: float = 1.0
    """Throughput of each as a multiple of that of the device that the costs speak of."""


class Training(Protocol):
    """A source of training seconds."""

    def seconds(self, job: Job, held: Held, loading_s: float = 0.0) -> float:
        """Seconds without noise; `loading_s` are those that reading its samples takes, beside the computing."""

    def notes(self, training: TrainingConfig) -> tuple[str, ...]:
        """What a reader of a run with this section `training` has to know of the figures, a line each."""
