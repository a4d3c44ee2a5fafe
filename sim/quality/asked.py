"""What a drift shape is asked: how much a model keeps of what it learned, on some samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sim.quality.knowledge import Knowledge
from sim.quality.protocol import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model, and the samples that it is scored on."""

    serial: int
    """The model's number."""
    knowledge: Knowledge
    last_ts: float
    """Data time of the newest sample of the training."""
    first: int
    stop: int
    """Positions of the samples scored: [first, stop)."""
    span: Span
    """Their data time."""

    @property
    def age_s(self) -> float:
        """Data time from the newest sample of the training to the middle of those scored; not below 0."""
        return max(0.0, sum(self.span) / 2 - self.last_ts)


class Shape(Protocol):
    """One way in which what a model learned stops being true."""

    def kept(self, asked: Asked) -> float:
        """The share that is left of what the model learned, in [0, 1]."""
