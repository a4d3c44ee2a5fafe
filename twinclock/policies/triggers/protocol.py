"""What a trigger policy is shown, what it may answer, and what it is told.

A *fire at position i* asks for a training on data that ends with, and includes, sample i; -1 is
the position before the first sample. A trigger reads the stream sample by sample in its meaning
(in its code: by closed form or by search), so that its answers do not depend on how the stream was
cut into batches. All its state goes through `state_dict`, as JSON: between two calls the object
may be thrown away and made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.stream import DataTime, Stream

DependsOn: TypeAlias = Literal["data", "scores", "clock"]
"""What decides a trigger's answers: the samples alone, also scores of models, or also clock time."""
Verdict: TypeAlias = Literal["fired", "none", "suppressed", "dropped", "coalesced"]
"""Policies decide `fired`, `none` or `suppressed`; what became of a fire later is `dropped` or `coalesced`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A batch in view: positions [first, stop) of a stream; first == stop if only time has passed."""

    stream: Stream
    first: int
    stop: int
    watermark: DataTime | None = None
    """Live: data time known to have passed once these samples are read; no later sample is earlier."""

    def timestamps(self) -> NDArray[np.float64]:
        """Data times of the samples, made only now."""
        return self.stream.timestamps(self.first, self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One row of the decision log: what a trigger thought of the samples [first, stop)."""

    first: int
    stop: int
    verdict: Verdict
    reason: str
    observation: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A trigger at `position`, the last sample included; never before the sample ahead of the one in hand."""

    position: int
    reason: str
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """A score or distance is needed before the decision; the next call brings it as `observation`."""

    request: Mapping[str, Json]
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Everything in view is read, nothing more to say about it."""

    decisions: tuple[Decision, ...] = ()


Answer: TypeAlias = Fire | Observe | Quiet
Observation: TypeAlias = Mapping[str, Json]
"""What a request brought: the request's own keys and a `value`, None if it could not be had."""


@runtime_checkable
class Trigger(Protocol):
    """A trigger policy. `check_trigger` says whether an implementation keeps to this."""

    @property
    def depends_on(self) -> DependsOn:
        """What the answers depend on."""

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Read on from the position reached, up to the first thing to say; `Quiet` at the end of `samples`.

        Called again with the same samples until `Quiet`; `observation` answers the last `Observe`.
        """

    def on_fire(self, position: int) -> None:
        """Its fire at `position` became a trigger (a suppressed or dropped one does not)."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """A training of `num_samples` held its devices for `seconds` of clock time, queueing excluded."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """A model was stored and is the active one now."""

    def next_deadline(self) -> DataTime | None:
        """The next data time at which to be asked even if no sample comes; None if there is none."""

    def state_dict(self) -> dict[str, Json]:
        """All that decides its future answers, as JSON."""

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict` of a trigger of the same configuration."""
