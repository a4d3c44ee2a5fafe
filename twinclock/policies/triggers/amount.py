"""A trigger every n samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.triggers.protocol import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime


class AmountTriggerConfig(Section):
    """Fires after every n samples.

    At position i iff (i + 1) mod n = 0.
    """

    source: ClassVar[str] = ""

    kind: Literal["amount"] = "amount"
    n: int = Field(gt=0)
    """From one trigger to the next. [samples]"""


class AlwaysTriggerConfig(Section):
    """Fires after every n samples, by default after each; another name for `amount`.

    The most that any policy can do; what others are measured against.
    """

    source: ClassVar[str] = ""

    kind: Literal["always"] = "always"
    n: int = Field(default=1, gt=0)
    """From one trigger to the next. [samples]"""


class AmountTrigger:
    """Counts samples; it never looks at one."""

    depends_on: DependsOn = "data"

    def __init__(self, config: AmountTriggerConfig | AlwaysTriggerConfig) -> None:
        self._n = config.n
        self._reached = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Fire at the next multiple of n that lies within the samples."""
        position = max(self._reached, samples.first)
        stop = position + self._n - position % self._n
        if stop > samples.stop:
            self._reached = max(self._reached, samples.stop)
            return Quiet()
        self._reached = stop
        reason = f"{self._n} samples"
        decision = Decision(first=stop - self._n, stop=stop, threshold=self._n, verdict="fired", reason=reason)
        return Fire(position=stop - 1, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Nothing to learn: the next multiple of n stands, whatever became of this fire."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """None: only samples count."""
        return None

    def state_dict(self) -> dict[str, Json]:
        """`reached`: the first position not yet read."""
        return {"reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._reached = state["reached"]
