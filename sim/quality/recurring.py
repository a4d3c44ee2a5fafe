"""Recurring drift: the world goes round, and a model is good at the time of the round that it was trained on."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.numbers import Share
from sim.quality.asked import Asked
from twinclock.durations import Duration
from twinclock.section import Section
from twinclock.stream import Stream

_EXACT = 16_384
"""Samples up to which each one's phase is looked at."""
_PIECES = 1_024
"""Pieces that more samples are cut into; in each they are taken as spread evenly over its data time."""


class RecurringDrift(Section):
    """The mean of 1 − depth · (1 − cos(2π (t − s) / period)) / 2 over training samples s and scored samples t.

    So it is 1 at the phase that was trained on, 1 − depth half a period away, and 1 − depth / 2 everywhere for a
    model trained on whole periods. The mean over pairs is the product of two means, of exp(2πi·ts / period) over the
    training samples and over the scored ones, so it takes no pairs to compute. Recurring concepts are in
    Gama et al., A survey on concept drift adaptation, ACM Computing Surveys 46(4), 2014; the cosine and the default
    depth are ours.
    """

    kind: Literal["recurring"] = "recurring"
    period: Annotated[Duration, Field(ge=0.001)]
    """Data time after which a concept comes back."""
    depth: Share = 0.5
    """Share that is lost half a period away from what was trained on."""


class Recurring:
    """The shape, for one stream."""

    def __init__(self, drift: RecurringDrift, stream: Stream) -> None:
        self._drift = drift
        self._stream = stream
        self._trained: dict[int, complex] = {}

    def kept(self, asked: Asked) -> float:
        """The mean over all pairs of a training sample and a scored one."""
        known = asked.knowledge
        trained = self._trained.get(asked.serial)
        if trained is None:
            ranges = zip(known.first.tolist(), known.stop.tolist(), known.weights.tolist(), strict=True)
            trained = sum((weight * self._phase(first, stop) for first, stop, weight in ranges), 0j)
            self._trained[asked.serial] = trained
        if not known.weights.any():
            return 1.0
        likeness = (self._phase(asked.first, asked.stop) * trained.conjugate()).real
        return min(1.0, max(0.0, 1.0 - self._drift.depth * (1.0 - likeness) / 2))

    def _phase(self, first: int, stop: int) -> complex:
        """The mean of exp(2πi·ts / period) over positions [first, stop)."""
        turns = 2j * math.pi / self._drift.period
        if stop - first <= _EXACT:
            return complex(np.exp(turns * self._stream.timestamps(first, stop)).mean())
        at = np.linspace(first, stop - 1, _PIECES + 1).astype(np.int64)
        times = np.array([self._stream.timestamp(int(position)) for position in at])
        middles, widths = (times[1:] + times[:-1]) / 2, np.diff(times)
        means = np.exp(turns * middles) * np.sinc(widths / self._drift.period)
        return complex(np.average(means, weights=np.diff(at)))
