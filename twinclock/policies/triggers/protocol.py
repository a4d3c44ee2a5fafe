"""What a trigger policy is shown, what it may answer, and what it is told.

A *fire at position i* asks for a training on data that ends with, and includes, sample i; -1 is
the position before the first sample. A trigger reads the stream sample by sample in its meaning
(in its code: by closed form or by search), so that its answers do not depend on how the stream was
cut into batches. All its state goes through `state_dict`, as JSON: between two calls the object
may be thrown away and made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twinclock.errors import DataError
from twinclock.graph import Json
from twinclock.stream import DataTime, Stream

if TYPE_CHECKING:
    import polars as pl

    from twinclock.dataset import Table

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
    label_delay_s: float = 0.0
    """Data time from a sample to the moment at which its label is known."""
    training_under_way: bool = False
    """Does a training run, or wait to? Only where trainings do not stop ingestion."""
    preview: Callable[[int], int] | None = None
    """How many samples a training fired now at a position would get; None: those since the last fire."""
    table: Callable[[], Table] | None = None
    """The samples themselves, loaded when first asked for; None: the stream has timestamps only."""

    def timestamps(self) -> NDArray[np.float64]:
        """Data times of the samples, made only now."""
        return self.stream.timestamps(self.first, self.stop)

    def features(self) -> pl.DataFrame:
        """The feature columns of the samples, a row each. DataError if the stream has none."""
        return self._rows().drop(self._table().columns.label)

    def labels(self) -> pl.Series:
        """The labels of the samples, null where a label is not known yet. DataError if the stream has none."""
        label = self._rows()[self._table().columns.label]
        if self.label_delay_s == 0.0 or self.first == self.stop:
            return label
        now = self.watermark if self.watermark is not None else self.stream.timestamp(self.stop - 1)
        known = int(np.searchsorted(self.timestamps() + self.label_delay_s, now, side="right"))
        return label.head(known).append(label.clear(len(label) - known))

    def until(self, stop: int) -> Samples:
        """The same view, ended before position `stop`, at which no time is known to have passed."""
        return self if stop >= self.stop else replace(self, stop=stop, first=min(self.first, stop), watermark=None)

    def _rows(self) -> pl.DataFrame:
        return self._table().rows([[self.first, self.stop]])

    def _table(self) -> Table:
        if self.table is None:
            raise DataError("trigger: these samples have timestamps only, no features and labels; expected a data set")
        return self.table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One row of the decision log: what a trigger thought of the samples [first, stop)."""

    first: int
    stop: int
    verdict: Verdict
    reason: str
    observation: float | None = None
    threshold: float | None = None
    signal: float | None = None
    """How much speaks for a fire, to rank decisions by; comparable within one trigger only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A trigger at `position`, the last sample included; never before the sample ahead of the one in hand."""

    position: int
    reason: str
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """A score or distance is needed before the decision; the next call brings it as `observation`.

    `twinclock.policies.observations` makes the requests that the executors understand.
    """

    request: Mapping[str, Json]
    position: int
    """Where the decision would fire."""
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Everything in view is read, nothing more to say about it."""

    decisions: tuple[Decision, ...] = ()


Answer: TypeAlias = Fire | Observe | Quiet
Observation: TypeAlias = Mapping[str, Json]
"""What a request brought: the request's own keys and `values`, by name, None for what could not be had."""


@runtime_checkable
class Trigger(Protocol):
    """A trigger policy. `check_trigger` says whether an implementation keeps to this."""

    @property
    def depends_on(self) -> DependsOn:
        """What the answers depend on."""

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Read on from the position reached, up to the first thing to say; `Quiet` at the end of `samples`.

        Called again with the same samples until `Quiet`; `observation` answers the last `Observe`, and is
        None if that failed.
        """

    def on_fire(self, position: int) -> None:
        """Its fire at `position` became a trigger (a suppressed or dropped one does not)."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """A training of `num_samples` held its devices for `seconds` of clock time, queueing excluded.

        Failed attempts are not told of; one that goes on from a checkpoint counts from there.
        """

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """A model was stored and is the active one now."""

    def next_deadline(self) -> DataTime | None:
        """The next data time at which to be asked even if no sample comes; None if there is none."""

    def state_dict(self) -> dict[str, Json]:
        """All that decides its future answers, as JSON."""

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict` of a trigger of the same configuration."""


def strongest(*dependencies: DependsOn) -> DependsOn:
    """What a trigger made of others depends on: clock over scores over data."""
    return max(dependencies, key=get_args(DependsOn).index, default="data")
