"""A trigger at the end of each ingest batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from twinclock.graph import Json
from twinclock.policies.triggers.protocol import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime


class OnBatchTriggerConfig(Section):
    """Fires at the end of each ingest batch.

    At the last sample of every batch that has one. The only policy whose answers depend on how the stream is cut into
    batches: that is what it is for.
    """

    source: ClassVar[str] = ""

    kind: Literal["on_batch"] = "on_batch"


class OnBatchTrigger:
    """Remembers how far it has read."""

    depends_on: DependsOn = "data"

    def __init__(self) -> None:
        self._reached = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire at the last sample, once."""
        first = max(self._reached, samples.first)
        if first >= samples.stop:
            return Quiet()
        self._reached = samples.stop
        reason = "the end of a batch"
        decision = Decision(first=first, stop=samples.stop, verdict="fired", reason=reason)
        return Fire(position=samples.stop - 1, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Nothing to learn."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """None: batches end by themselves."""
        return None

    def state_dict(self) -> dict[str, Json]:
        """`reached`: the first position not yet read."""
        return {"reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._reached = state["reached"]
